// What a reader would stumble over on a page, for tests/steps/test_report_pages.py. Each function returns the faults it finds.

const rgba = (colour) => {
  if (!/^rgba?\(/.test(colour)) throw new Error(`a colour that is not measured: ${colour}`)
  const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number)
  return [red, green, blue, alpha]
}
const over = (top, back) => [0, 1, 2].map((i) => top[i] * top[3] + back[i] * (1 - top[3])).concat(1)
const path = (element) => (element ? [...path(element.parentElement), element] : [])

// The WCAG 2.2 definitions of relative luminance and contrast ratio.
const luminance = (colour) => {
  const part = (value) => (value /= 255, value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  return 0.2126 * part(colour[0]) + 0.7152 * part(colour[1]) + 0.0722 * part(colour[2])
}
const contrast = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (high + 0.05) / (low + 0.05)
}

const background = (element = document.body) =>
  path(element).reduce((back, each) => over(rgba(getComputedStyle(each).backgroundColor), back), [255, 255, 255, 1])
const ink = (element) => {
  const style = getComputedStyle(element)
  const colour = rgba(element.ownerSVGElement ? style.fill : style.color)
  const opacity = path(element).reduce((all, each) => all * Number(getComputedStyle(each).opacity), 1)
  return over([...colour.slice(0, 3), colour[3] * opacity], background(element))
}

// Elements that hold text of their own and can be seen; what is clipped to a pixel is for screen readers.
const texts = () => [...document.body.querySelectorAll('*')].filter((element) => {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
  const box = element.getBoundingClientRect()
  return own && box.width > 1 && box.height > 1 && box.right > 0 && !element.closest('script, style, title') &&
    element.checkVisibility({ visibilityProperty: true, opacityProperty: true })
})
const words = (element) => element.textContent.trim().slice(0, 60)

const faint = (least) => texts().map((element) => [words(element), contrast(ink(element), background(element))])
  .filter(([, ratio]) => ratio < least)
const tiny = (least) => texts().map((element) => {
  const at = element.ownerSVGElement ? element.getScreenCTM() : { a: 1, b: 0 }
  return [words(element), Math.hypot(at.a, at.b) * parseFloat(getComputedStyle(element).fontSize)]
}).filter(([, size]) => size < least)
const beyond = () => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.body.querySelectorAll('*')].filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map(words)
const lost = () => [...document.querySelectorAll('a[href^="#"]')].map((link) => link.getAttribute('href'))
  .filter((href) => href !== '#' && !document.getElementById(decodeURIComponent(href.slice(1))))
const links = () => document.querySelectorAll('a[href^="#"]').length
const unfold = () => document.querySelectorAll('details').forEach((each) => { each.open = true })
const unseen = (selector) => [...document.querySelectorAll(selector)].filter((each) =>
  !each.checkVisibility({ contentVisibilityAuto: true }) || !each.getBoundingClientRect().height).map(words)
const below = (height, selectors) => selectors.filter((selector) => {
  const found = document.querySelector(selector)
  return !found || found.getBoundingClientRect().bottom > height
})
const within = async (milliseconds, selector) => {
  const end = performance.now() + milliseconds
  while (!document.querySelector(selector) && performance.now() < end) await new Promise((done) => setTimeout(done, 50))
  return [...document.querySelectorAll(selector)].map((link) => link.getAttribute('href'))
}
