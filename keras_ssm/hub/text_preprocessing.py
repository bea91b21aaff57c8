"""From strings to bytes and back, for the text models."""

from typing import Any

import keras
import keras_hub

from keras_ssm.hub.backbone import SSMBackbone


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMByteTokenizer(keras_hub.tokenizers.ByteTokenizer):
    """keras-hub's byte tokenizer, with tokens for start, end and padding.

    The ids are the 256 bytes of UTF-8. 0 is padding, as in keras-hub; 254 and
    255, which no UTF-8 text contains, are start and end. Case is kept, unlike in
    keras-hub.

    Args:
        lowercase: fold the case of all input.
        **kwargs: see `keras_hub.tokenizers.ByteTokenizer`.

    Example:

    >>> from keras_ssm import hub
    >>> tokenizer = hub.SSMByteTokenizer()
    >>> tokenizer.detokenize(tokenizer("Ode"))
    'Ode'
    """

    backbone_cls = SSMBackbone

    def __init__(self, lowercase: bool = False, **kwargs: Any) -> None:
        self._add_special_token(chr(0), "pad_token")
        self._add_special_token(chr(254), "start_token")
        self._add_special_token(chr(255), "end_token")
        super().__init__(lowercase=lowercase, **kwargs)

    # Bytes need no files besides the configuration.

    def save_assets(self, dir_path: str) -> None:
        pass

    def load_preset_assets(self, preset: str) -> None:
        pass


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMTextClassifierPreprocessor(keras_hub.models.TextClassifierPreprocessor):
    """Strings to `token_ids` and `padding_mask`, for `SSMTextClassifier`.

    Args:
        tokenizer: an `SSMByteTokenizer`.
        sequence_length: tokens of a row, start and end included; longer texts
            are cut.
        **kwargs: see `keras_hub.models.TextClassifierPreprocessor`.

    Example:

    >>> from keras_ssm import hub
    >>> tokenizer = hub.SSMByteTokenizer()
    >>> preprocessor = hub.SSMTextClassifierPreprocessor(tokenizer, sequence_length=8)
    >>> tuple(preprocessor(["Ode", "Elegy"])["token_ids"].shape)
    (2, 8)
    """

    backbone_cls = SSMBackbone
    tokenizer_cls = SSMByteTokenizer

    def __init__(self, tokenizer: Any, sequence_length: int = 512, **kwargs: Any) -> None:
        super().__init__(tokenizer, sequence_length, **kwargs)

    def call(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        output = super().call(x, y=y, sample_weight=sample_weight)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(output)
        x = {name: x[name] for name in ("token_ids", "padding_mask")}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)


@keras.saving.register_keras_serializable(package="keras_ssm")
class SSMCausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """Strings to tokens and targets, for `SSMCausalLM`.

    Args:
        tokenizer: an `SSMByteTokenizer`.
        sequence_length: tokens of a row; longer texts are cut for training.
        add_start_token: begin every text with the start token. Needed only to
            generate from nothing: a state space starts in the zero state anyway.
        **kwargs: see `keras_hub.models.CausalLMPreprocessor`.

    Example:

    >>> from keras_ssm import hub
    >>> tokenizer = hub.SSMByteTokenizer()
    >>> preprocessor = hub.SSMCausalLMPreprocessor(tokenizer, sequence_length=8)
    >>> x, y, sample_weight = preprocessor(["Ode", "Elegy"])
    >>> tuple(x["token_ids"].shape), tuple(y.shape)
    ((2, 8), (2, 8))
    """

    backbone_cls = SSMBackbone
    tokenizer_cls = SSMByteTokenizer

    def __init__(
        self,
        tokenizer: Any,
        sequence_length: int = 1024,
        add_start_token: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            tokenizer, sequence_length=sequence_length, add_start_token=add_start_token, **kwargs
        )

    def generate_preprocess(self, x: Any, sequence_length: int | None = None) -> Any:
        """Prompts to `token_ids` and `padding_mask` of `sequence_length` tokens.

        Args:
            x: string or list of strings.
            sequence_length: tokens of prompt and continuation together; None
                takes the preprocessor's.

        Raises:
            ValueError: if there is no prompt, or for an empty prompt without a start
                token or one longer than `sequence_length`.
        """
        if not self.built:
            self.build(None)
        limit = sequence_length or self.sequence_length
        tokens = self.tokenizer(x)
        rows = [tokens] if isinstance(x, (str, bytes)) else tokens
        sizes = [len(row) + bool(self.add_start_token) for row in rows]
        if not sizes or not min(sizes):
            raise ValueError(
                "every prompt needs a token to go on from; `add_start_token=True` of the "
                f"preprocessor adds one to an empty prompt. Received: prompts of {sizes} tokens"
            )
        if max(sizes) > limit:
            raise ValueError(
                f"prompts must fit into `max_length` = {limit} tokens. "
                f"Received: a prompt of {max(sizes)} tokens"
            )
        # Unlike in keras-hub, `add_start_token=False` holds for generation too.
        token_ids, padding_mask = self.packer(
            tokens,
            sequence_length=limit,
            add_start_value=self.add_start_token,
            add_end_value=False,
        )
        return {"token_ids": token_ids, "padding_mask": padding_mask}
