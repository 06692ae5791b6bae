"""Each step as a Kubeflow component: a stub that imports the step, calls it and returns what the next one needs."""

import functools
import os

from kfp import dsl

IMAGE = os.environ.get("REWARDLAB_IMAGE", "rewardlab-python:0.1.0")
"""The train image. kfp's local runner warns of image names that do not hold "python"."""

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
"""`dsl.component` in our own image, which has kfp and every step installed."""
