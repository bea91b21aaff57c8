// The page: from strokes to 8 x 8 pixels, as in the data set, and from these, one by one, to bars.

import { Stream, softmax } from "./stream.js";

const SIDE = 8, GRID = 32, BLOCK = GRID / SIDE, STEPS = SIDE * SIDE;
const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
                 "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const $ = (id) => document.getElementById(id);
const paper = $("paper"), ink = paper.getContext("2d", { willReadFrequently: true });

// Of the last drawing: its pixels in [0, 1], and the probabilities after each of them.
export const demo = { pixels: [], probabilities: [], running: false };
window.demo = demo;

let stream, round = 0, last = null;

// Drawing.

function point(event) {
  const box = paper.getBoundingClientRect();
  return [(event.clientX - box.left) * paper.width / box.width,
          (event.clientY - box.top) * paper.height / box.height];
}

paper.addEventListener("pointerdown", (event) => { last = point(event); stroke(last, last); });
paper.addEventListener("pointermove", (event) => {
  if (!last) return;
  const next = point(event);
  stroke(last, next);
  last = next;
});
window.addEventListener("pointerup", () => { if (last) { last = null; read(); } });
$("clear").addEventListener("click", clear);

function stroke(from, to) {
  ink.lineWidth = 22;
  ink.lineCap = "round";
  ink.beginPath();
  ink.moveTo(...from);
  ink.lineTo(...to);
  ink.stroke();
}

function clear() {
  round += 1;
  ink.clearRect(0, 0, paper.width, paper.height);
  Object.assign(demo, { pixels: [], probabilities: [], running: false });
  draw(0);
}

// The data set was scanned as 32 x 32 black and white points, the digit filling the frame, and
// counted in blocks of 4 x 4.
function pixels() {
  const { data, width, height } = ink.getImageData(0, 0, paper.width, paper.height);
  const inked = (x, y) => data[4 * (y * width + x) + 3] > 127;
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (inked(x, y)) {
    left = Math.min(left, x); right = Math.max(right, x);
    top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  if (right < 0) return null;
  const size = Math.max(bottom - top + 1, right - left + 1);
  const x0 = (left + right + 1 - size) / 2, y0 = (top + bottom + 1 - size) / 2;
  const counts = new Array(STEPS).fill(0);
  for (let row = 0; row < GRID; row++) for (let column = 0; column < GRID; column++) {
    const x = Math.floor(x0 + (column + 0.5) * size / GRID);
    const y = Math.floor(y0 + (row + 0.5) * size / GRID);
    if (x >= 0 && x < width && y >= 0 && y < height && inked(x, y)) {
      counts[Math.floor(row / BLOCK) * SIDE + Math.floor(column / BLOCK)] += 1;
    }
  }
  return counts.map((count) => count / BLOCK ** 2);
}

// Reading.

async function read() {
  const values = pixels(), mine = ++round;
  if (!values) return;
  Object.assign(demo, { pixels: values, probabilities: [], running: true });
  stream.reset();
  for (let k = 0; k < STEPS; k++) {
    const logits = await stream.step([values[k]]);
    if (mine !== round) return;
    demo.probabilities.push(softmax(logits));
    draw(k + 1);
    // Slow enough to be seen.
    await new Promise((resolve) => setTimeout(resolve, 30));
    if (mine !== round) return;
  }
  demo.running = false;
}

// Showing.

function draw(step) {
  drawPixels(step);
  drawClasses();
  drawHistory();
  $("progress").textContent = step ? `pixel ${step} of ${STEPS}` : "no pixel yet";
}

function drawPixels(step) {
  const canvas = $("pixels"), context = canvas.getContext("2d"), size = canvas.width / SIDE;
  context.clearRect(0, 0, canvas.width, canvas.height);
  demo.pixels.forEach((value, k) => {
    const [x, y] = [(k % SIDE) * size, Math.floor(k / SIDE) * size];
    const grey = Math.round(255 * (1 - value));
    context.fillStyle = k < step ? `rgb(${grey},${grey},${grey})` : "#f4f0e4";
    context.fillRect(x, y, size, size);
    if (k === step - 1 && step < STEPS) {
      context.strokeStyle = "#06c";
      context.lineWidth = 3;
      context.strokeRect(x + 1.5, y + 1.5, size - 3, size - 3);
    }
  });
}

function drawClasses() {
  const now = demo.probabilities.at(-1) ?? [];
  const best = now.indexOf(Math.max(...now));
  [...$("classes").children].forEach((item, k) => {
    const share = now[k] ?? 0;
    item.className = k === best ? "best" : "";
    item.querySelector(".bar").style.width = `${100 * share}%`;
    item.querySelector(".share").textContent = now.length ? `${Math.round(100 * share)} %` : "";
  });
}

function drawHistory() {
  const canvas = $("history"), context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const now = demo.probabilities.at(-1) ?? [];
  now.forEach((share, digit) => {
    context.strokeStyle = context.fillStyle = COLOURS[digit];
    context.lineWidth = 2;
    context.beginPath();
    demo.probabilities.forEach((row, k) => {
      context.lineTo((width - 16) * (k + 1) / STEPS, height - 8 - (height - 16) * row[digit]);
    });
    context.stroke();
    if (share > 0.1) {
      context.font = "bold 14px system-ui";
      const x = (width - 16) * demo.probabilities.length / STEPS;
      context.fillText(digit, x + 4, height - 4 - (height - 16) * share);
    }
  });
}

for (let digit = 0; digit < 10; digit++) {
  const item = document.createElement("li");
  item.innerHTML = `<span>${digit}</span><span class="track"><span class="bar" style="display:block">`
    + `</span></span><span class="share"></span>`;
  $("classes").append(item);
}
try {
  stream = await Stream.load("model.onnx", "model.json");
  $("numbers").textContent = stream.stateSize;
  const { versions } = stream.metadata;
  $("status").textContent = `Trained with Keras ${versions.keras} and keras_ssm ${versions.keras_ssm}; `
    + "runs here in ONNX Runtime. Nothing leaves this page.";
  document.body.dataset.ready = "yes";
} catch (error) {
  $("status").textContent = `The model could not be loaded: ${error.message}`;
}
