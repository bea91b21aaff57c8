"""Text generation with a state that does not grow."""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub
from keras import ops

from keras_ssm.hub.backbone import SSMBackbone
from keras_ssm.hub.head import check_backbone
from keras_ssm.hub.presets import WholePreset
from keras_ssm.hub.text_preprocessing import SSMCausalLMPreprocessor
from keras_ssm.ops import masking
from keras_ssm.types import Tensor

# Prompts are padded to powers of two, so that few lengths are compiled.
_SHORTEST = 16


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMCausalLM(WholePreset, keras_hub.models.CausalLM):
    """Language model: logits of the next token at every token, and `generate()`.

    Generation reads the prompts in one parallel pass and then takes one
    recurrent step for each token. What it remembers is the state of the
    layers, (batch, depth, state width): as large after the first token as after
    the millionth, and a step takes as long. The samplers are keras-hub's:
    greedy, random, top-k, top-p and beam. Prompts of a batch may differ in
    length; each row is continued to `max_length` tokens or its first end token.

    Without a preprocessor, `generate()` takes and gives `token_ids` and
    `padding_mask`, (batch, max_length); padding may lie on either side of a
    prompt, and a row of the result begins with its prompt.

    Args:
        backbone: an `SSMBackbone` of unidirectional layers.
        preprocessor: an `SSMCausalLMPreprocessor`, or None to give token ids
            and padding masks.
        **kwargs: `name` of `keras.Model`.

    Raises:
        ValueError: for another backbone, or a bidirectional one.

    Example:

    >>> from keras_ssm import hub
    >>> lm = hub.SSMCausalLM(
    ...     hub.SSMBackbone(256, depth=1, width=8, state_size=8),
    ...     hub.SSMCausalLMPreprocessor(hub.SSMByteTokenizer(), sequence_length=32),
    ... )
    >>> lm.compile(sampler="greedy")
    >>> texts = lm.generate(["ab", "b"], max_length=8)
    >>> texts[0][:2], texts[1][:1]
    ('ab', 'b')
    """

    backbone_cls = SSMBackbone
    preprocessor_cls = SSMCausalLMPreprocessor
    generate_function: Any

    def __init__(self, backbone: Any, preprocessor: Any = None, **kwargs: Any) -> None:
        check_backbone(backbone, SSMBackbone)
        if backbone.blocks[0].ssm.bidirectional:
            raise ValueError(
                "A language model reads in one direction: a bidirectional one sees the token it "
                f"predicts. Received: ssm_options={backbone.ssm_options}"
            )
        self.backbone = backbone
        self.preprocessor = preprocessor
        inputs = backbone.input
        outputs = backbone.token_embedding(backbone(inputs), reverse=True)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    # The cache.

    def prefill(self, token_ids: Tensor, padding_mask: Tensor) -> Tensor:
        """The cache after all tokens of `token_ids`, in one parallel pass.

        Args:
            token_ids: integers (batch, length).
            padding_mask: booleans (batch, length); padding may lie anywhere,
                and a row may be padding alone.

        Returns:
            The cache, (batch, depth, state width).
        """
        x = self.backbone.token_embedding(token_ids)
        states = []
        for block in self.backbone.blocks:
            start = block.get_initial_state(ops.shape(token_ids)[0])
            x, state = block.advance(x, start, padding_mask)
            states.append(state)
        return ops.stack(states, axis=1)

    def call_with_cache(
        self, token_ids: Tensor, cache: Tensor, systems: list[Any] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token in each row.

        Args:
            token_ids: integers (batch,).
            cache: of the tokens before, (batch, depth, state width).
            systems: what `ssm.system().stepper()` of each block gave, or None.

        Returns:
            Logits (batch, vocabulary_size) of the next token, the hidden vector
            (batch, width) they come from, and the cache with this token.
        """
        x = self.backbone.token_embedding(token_ids)
        states = []
        for index, block in enumerate(self.backbone.blocks):
            system = None if systems is None else systems[index]
            x, state = block.step(x, cache[:, index], system=system)
            states.append(state)
        hidden = self.backbone.final_norm(x)
        logits = self.backbone.token_embedding(hidden, reverse=True)
        return logits, hidden, ops.stack(states, axis=1)

    # Generation.

    def make_generate_function(self) -> Callable[..., Any]:
        if self.generate_function is None:
            compiled = super().make_generate_function()

            def generate_function(inputs: Any, stop_token_ids: Any = None) -> Any:
                return compiled(_with_prompts(inputs), stop_token_ids=stop_token_ids)

            self.generate_function = generate_function
        return self.generate_function

    def generate_step(self, inputs: Any, stop_token_ids: Any = None) -> dict[str, Tensor]:
        """What `generate()` compiles: a batch of padded prompts to a batch of texts.

        Args:
            inputs: `token_ids` and `padding_mask`, (batch, max_length), every
                row beginning with its prompt, and `prompt_ids`, the first
                columns of `token_ids` that hold the longest prompt.
            stop_token_ids: ids that end a row, or None.

        Returns:
            `token_ids` and `padding_mask`, which is False after the first stop
            token that was generated.
        """
        token_ids, padding_mask = inputs["token_ids"], ops.cast(inputs["padding_mask"], "bool")
        prompt_ids = inputs["prompt_ids"]
        column = ops.arange(ops.shape(token_ids)[1], dtype="int32")[None]
        lengths = ops.sum(ops.cast(padding_mask, "int32"), axis=1, keepdims=True)
        # The sampler writes one column at a time. Rows are moved left until all prompts end where
        # the shortest does; the state has seen what falls out.
        start = ops.min(lengths)
        shift = lengths - start
        moved = ops.take_along_axis(
            token_ids, ops.minimum(column + shift, ops.shape(token_ids)[1] - 1), axis=1
        )
        # The last token of a prompt is left to the first step, which needs its logits.
        in_prompt = ops.arange(ops.shape(prompt_ids)[1], dtype="int32")[None] < lengths - 1
        systems = [block.ssm.system().stepper() for block in self.backbone.blocks]

        def next_token(ids: Tensor, cache: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            last = ops.slice(ids, [0, index - 1], [ops.shape(ids)[0], 1])[:, 0]
            return self.call_with_cache(last, cache, systems)

        moved = self.sampler(
            next=next_token,
            prompt=moved,
            cache=self.prefill(prompt_ids, in_prompt),
            index=start,
            mask=ops.broadcast_to(column < start, ops.shape(token_ids)),
            stop_token_ids=stop_token_ids,
            model=self,
        )
        continued = ops.take_along_axis(moved, ops.maximum(column - shift, 0), axis=1)
        token_ids = ops.where(padding_mask, token_ids, continued)
        return {
            "token_ids": token_ids,
            "padding_mask": _until_stop(token_ids, padding_mask, stop_token_ids),
        }


def _with_prompts(inputs: Any) -> dict[str, Tensor]:
    """Prompts moved to the left, and cut from the rest as `prompt_ids`."""
    token_ids = ops.cast(ops.convert_to_tensor(inputs["token_ids"]), "int32")
    padding_mask = ops.cast(ops.convert_to_tensor(inputs["padding_mask"]), "bool")
    if len(token_ids.shape) != 2 or tuple(token_ids.shape) != tuple(padding_mask.shape):
        raise ValueError(
            "`token_ids` and `padding_mask` must have one shape (batch, max_length). "
            f"Received: shapes {tuple(token_ids.shape)} and {tuple(padding_mask.shape)}"
        )
    where = masking.compaction(padding_mask)
    lengths = ops.convert_to_numpy(where.counts)
    if not lengths.size or not lengths.min():
        raise ValueError(
            "every prompt needs a token to go on from. "
            f"Received: prompts of {lengths.tolist()} tokens"
        )
    token_ids = masking.compact(token_ids, where)
    length = max(_SHORTEST, 1 << (int(lengths.max()) - 1).bit_length())
    return {
        "token_ids": token_ids,
        "padding_mask": where.valid,
        "prompt_ids": token_ids[:, :length],
    }


def _until_stop(token_ids: Tensor, prompt: Tensor, stop_token_ids: Any) -> Tensor:
    """True up to the first stop token after the prompt."""
    if stop_token_ids is None:
        return ops.ones_like(prompt)
    stops = ops.zeros_like(prompt)
    for stop in stop_token_ids:
        stops = ops.logical_or(stops, ops.equal(token_ids, stop))
    stops = ops.cast(ops.logical_and(stops, ops.logical_not(prompt)), "int32")
    return ops.cumsum(stops, axis=1) - stops <= 0
