// Draws a ring on the page of examples/browser in headless Chromium, waits until the model has read
// it, and prints what was read and thought: node browser.mjs FOLDER URL PICTURE CHROMIUM
// It ends with 3 where Chromium does not start.

import { createRequire } from "node:module";

const [folder, url, picture, chromium] = process.argv.slice(2);
const puppeteer = createRequire(`${folder}/`)("puppeteer-core");
const browser = await puppeteer.launch({
  executablePath: chromium, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
}).catch((error) => { console.error(error.message); process.exit(3); });
try {
  const page = await browser.newPage();
  const asked = [], failed = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => failed.push(String(error)));
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(url);
  await page.waitForSelector("body[data-ready]", { timeout: 60000 });
  const box = await (await page.$("#paper")).boundingBox();
  const at = (angle) => [box.x + 128 + 60 * Math.cos(angle), box.y + 128 + 90 * Math.sin(angle)];
  await page.mouse.move(...at(0));
  await page.mouse.down();
  for (let k = 1; k <= 24; k++) await page.mouse.move(...at(k * Math.PI / 12));
  await page.mouse.up();
  await page.waitForFunction(
    "window.demo.probabilities.length === 64 && !window.demo.running", { timeout: 60000 });
  await page.screenshot({ path: picture, fullPage: true });
  const { pixels, probabilities } = await page.evaluate("window.demo");
  console.log(JSON.stringify({ pixels, probabilities, asked, failed }));
} finally {
  await browser.close();
}
