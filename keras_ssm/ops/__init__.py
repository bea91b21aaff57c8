"""Pure mathematics of state space layers: free functions on tensors.

Nothing here knows a Keras layer. Complex numbers are pairs ``(re, im)`` of
real tensors, since a complex dtype is not safe on every backend and in every precision.

Letters

    B  batch                      H  channels (features) of the sequence
    L  length, index k            N, n  complex modes of one channel (DSS, S4D)
    C  output channels per input  P  complex modes of one S5 state
    Q  chunk size, M = ceil(L/Q)  G  any stack of kernels sharing one Lambda

    Lambda  continuous eigenvalues            lam  exp(log_lam), discrete ones
    dt      step size                         B, C, D  input, output, skip

Shapes are written after the arguments, e.g. ``u (B, H, L)``.
"""
