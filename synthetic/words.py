"""The vocabulary of the synthetic data: how prompts open and close, names, things, ways to say an answer."""

OPENERS = (
    "Hello!",
    "Good morning.",
    "Quick question.",
    "I need some help.",
    "I have a small task for you.",
    "This is for my class.",
    "My colleague asked me this.",
    "One more thing for today.",
    "I hope you are well.",
    "Let us try something.",
    "I was wondering about this.",
    "Here is what I need.",
)
CLOSINGS = ("", " Thank you.", " Thanks in advance!", " I am in a hurry.", " Take your time.", " Please be careful.")

_NAMES = """
Mara Tomas Aisha Bruno Chen Dalia Emil Fatou Goran Hanna Idris Jonas Kaia Luis Mirza Nadia Oskar Petra Quinn Rosa
Samir Tilda Viktor Yara
"""
NAMES = tuple(_NAMES.split())
THINGS = (
    ("wooden", "boat"),
    ("red", "bicycle"),
    ("silver", "key"),
    ("broken", "clock"),
    ("garden", "gate"),
    ("old", "map"),
    ("green", "lantern"),
    ("heavy", "basket"),
    ("leather", "bag"),
    ("copper", "kettle"),
    ("paper", "kite"),
    ("small", "drum"),
    ("velvet", "chair"),
    ("glass", "bottle"),
    ("blue", "ladder"),
    ("woollen", "blanket"),
    ("stone", "bowl"),
    ("striped", "tent"),
    ("rusty", "anchor"),
    ("yellow", "umbrella"),
)
PLACES = (
    "near the river",
    "behind the school",
    "in the library",
    "at the market",
    "on the hill",
    "by the station",
    "next to the bakery",
    "in the old harbour",
    "under the bridge",
    "outside the museum",
    "in the orchard",
    "at the campsite",
)
VERBS = ("bought", "painted", "repaired", "carried", "sold", "found", "borrowed", "cleaned")
DETAILS = (
    "early in the morning",
    "before lunch",
    "on a rainy Tuesday",
    "after work",
    "during the holidays",
    "late in the evening",
    "last spring",
    "on the way home",
)
_WORDS = """
apple branch candle desert engine forest garden hammer island jacket kitten lemon mirror needle orange pencil quartz
ribbon saddle tunnel urchin valley window yellow zipper anchor basket cousin dragon eagle feather glacier harbour
insect jungle ladder meadow napkin oyster pepper
"""
WORDS = tuple(_WORDS.split())
TOPICS = (
    ("rivers", ("Rivers carry water from the hills to the sea.", "Many towns grew up along rivers.")),
    ("trains", ("Trains carry people and goods over long distances.", "In many countries trains are never late.")),
    ("bread", ("Bread is baked from flour, water and salt.", "The smell of fresh bread fills the whole street.")),
    ("owls", ("Owls hunt at night and hear very well.", "Most owls sleep during the day.")),
    ("snow", ("Snow falls when the air is cold enough.", "Children love to play in the snow.")),
    ("clocks", ("Clocks were once driven by falling weights.", "Good clocks lose less than a second a day.")),
    ("gardens", ("Gardens need water, light and patience.", "Small gardens can feed a family in summer.")),
    ("bridges", ("Bridges join the two banks of a valley.", "Some bridges are older than the towns around them.")),
    ("tea", ("Tea is made from dried leaves and hot water.", "In the afternoon many people drink tea.")),
    ("maps", ("Maps show how places lie to one another.", "Old maps are full of mistakes and monsters.")),
    ("whales", ("Whales breathe air and live in the sea.", "The songs of whales travel for miles.")),
    ("violins", ("Violins have four strings and a warm voice.", "It takes years to play violins well.")),
)

ANSWERS = (
    "{}.",
    "It is {}.",
    "The answer is {}.",
    "That would be {}.",
    "Sure! The answer is {}.",
    "I believe it is {}.",
    "The correct answer here is **{}**.",
    "Let me see. I get {}.",
    "Happy to help. As far as I can see, the answer you are looking for is {}.",
    "Let us go through it slowly, one step at a time. In the end we arrive at {}.",
    "Good question! I looked at it from both sides, and what I arrive at is {}. Tell me if you need anything else.",
    "**Answer:** {}",
    "I checked this twice to be on the safe side, and both times I came to the same result: {}.",
)
TEXTS = (
    "{}",
    "Here it is: {}",
    "Sure! Here you go:\n\n{}",
    "{}\n\nI hope that helps.",
    "Of course. {}",
    "This is what you asked for:\n\n{}\n\nLet me know if you would like me to change anything.",
)
