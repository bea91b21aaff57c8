// A model that `keras-ssm export --format onnx --step` wrote, in onnxruntime-web: one step after the
// other, its states fed back.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

// One thread: a step is small, and a page without special headers has no more.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("./node_modules/onnxruntime-web/dist/", import.meta.url).href;

export class Stream {
  // `metadata` is what the file says of itself, see keras_ssm_runner.
  static async load(model, metadata) {
    const response = await fetch(metadata);
    if (!response.ok) throw new Error(`${metadata} is missing: run \`make browser\``);
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    return new Stream(session, await response.json());
  }

  constructor(session, metadata) {
    this.session = session;
    this.metadata = metadata;
    this.reset();
  }

  // Start a new sequence.
  reset() {
    this.states = {};
    for (const state of this.metadata.states) {
      const size = state.shape.reduce((a, b) => a * b, 1);
      const values = new Float32Array(size);
      if (Array.isArray(state.initial)) values.set(state.initial.flat(Infinity));
      else values.fill(Number(state.initial));
      this.states[state.input] = new ort.Tensor("float32", values, [1, ...state.shape]);
    }
  }

  // How many numbers it keeps between steps.
  get stateSize() {
    return Object.values(this.states).reduce((sum, state) => sum + state.data.length, 0);
  }

  // The output after one more step with these features.
  async step(features) {
    const [input] = this.metadata.inputs, [output] = this.metadata.outputs;
    const x = new ort.Tensor("float32", Float32Array.from(features), [1, ...input.shape]);
    const results = await this.session.run({ [input.tensor]: x, ...this.states });
    for (const state of this.metadata.states) this.states[state.input] = results[state.output];
    return Array.from(results[output.tensor].data);
  }
}

export function softmax(logits) {
  const largest = Math.max(...logits);
  const values = logits.map((z) => Math.exp(z - largest));
  const sum = values.reduce((a, b) => a + b, 0);
  return values.map((z) => z / sum);
}
