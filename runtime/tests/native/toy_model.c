/*
 * The toy of tests/support/toy.rs as a native artifact written by hand: what include/tcrt_model.h promises is enough to
 * write one. toy_weights.h, which the test makes, says where the weights lie.
 */
#include "tcrt_model.h"
#include "toy_weights.h"

#ifndef LINEAR
#define LINEAR "linear"
#endif

enum { VOCAB = 43, DIM = 24, HIDDEN = 40, LAYERS = 2, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 6, POSITIONS = 300 };
enum { Q_DIM = HEADS * HEAD_DIM, QKV_DIM = (HEADS + 2 * KV_HEADS) * HEAD_DIM };
#define EPS 1e-5f

/* f32 rows are padded to 16 values. */
#define PADDED(width) (((width) + 15) / 16 * 16)

/* Where buffers lie, in bytes for one token or row. */
enum {
    X = 0,
    ANGLES = X + 4 * PADDED(DIM),
    NORMED = ANGLES + 4 * PADDED(HEAD_DIM),
    QKV = NORMED + 4 * PADDED(DIM),
    Q = QKV + 4 * PADDED(QKV_DIM),
    MIXED = Q + 4 * PADDED(Q_DIM),
    GATE_UP = MIXED + 4 * PADDED(Q_DIM),
    ACT = GATE_UP + 4 * PADDED(2 * HIDDEN),
    TOKEN_ARENA = ACT + 4 * PADDED(HIDDEN),
};
enum {
    LAST = 0,
    LAST_NORMED = LAST + 4 * PADDED(DIM),
    RAW = LAST_NORMED + 4 * PADDED(DIM),
    LOGITS = RAW + 4 * PADDED(VOCAB),
    ROW_ARENA = LOGITS + 4 * PADDED(VOCAB),
};

enum { EMBED, ROPE_TABLE, NORM, LINEAR_, ROPE_KV, ATTENTION, SWIGLU, GATHER, SCALE, KERNELS };

#define TEXT(text) {text, sizeof(text) - 1}
static const tcrt_need needs[KERNELS] = {
    {TEXT("embed"), sizeof(tcrt_embed_args)},         {TEXT("rope_table"), sizeof(tcrt_rope_table_args)},
    {TEXT("rms_norm"), sizeof(tcrt_norm_args)},       {TEXT(LINEAR), sizeof(tcrt_linear_args)},
    {TEXT("rope_kv"), sizeof(tcrt_rope_kv_args)},     {TEXT("attention"), sizeof(tcrt_attention_args)},
    {TEXT("swiglu"), sizeof(tcrt_swiglu_args)},       {TEXT("gather_rows"), sizeof(tcrt_gather_args)},
    {TEXT("scale"), sizeof(tcrt_elementwise_args)},
};

enum { OPS = 2 + 9 * LAYERS + 4 };

/* The largest arguments, with the kernel they are for. */
typedef struct op {
    union {
        tcrt_embed_args embed;
        tcrt_rope_table_args rope_table;
        tcrt_norm_args norm;
        tcrt_linear_args linear;
        tcrt_rope_kv_args rope_kv;
        tcrt_attention_args attention;
        tcrt_swiglu_args swiglu;
        tcrt_gather_args gather;
        tcrt_elementwise_args scale;
    } args;
    int kernel;
} op;

typedef struct state {
    op ops[OPS];
} state;

static const float *vector(const tcrt_context *c, int weight) { return (const float *)(c->weights + offsets[weight]); }

static tcrt_matrix matrix(const tcrt_context *c, int weight, uint32_t rows, uint32_t cols) {
    return (tcrt_matrix){c->weights + offsets[weight], rows, cols, 0, 0};
}

static float *token(const tcrt_context *c, uint64_t offset) { return (float *)(c->tokens_arena + offset * c->max_tokens); }

static float *row(const tcrt_context *c, uint64_t offset) { return (float *)(c->rows_arena + offset * c->max_rows); }

static op norm(const float *x, const float *w, float *y, uint32_t over) {
    return (op){.args.norm = {x, w, (uint8_t *)y, PADDED(DIM), 4 * PADDED(DIM), DIM, EPS, over}, .kernel = NORM};
}

static op linear(tcrt_matrix w, const float *x, const float *bias, const float *residual, float *y, float alpha,
                 uint32_t over) {
    tcrt_linear_args args = {w, (const uint8_t *)x, bias, residual, y, 4 * PADDED(w.cols), PADDED(w.rows), alpha, over};
    return (op){.args.linear = args, .kernel = LINEAR_};
}

static op *layer(const tcrt_context *c, uint32_t i, op *ops) {
    float *x = token(c, X), *normed = token(c, NORMED), *qkv = token(c, QKV), *q = token(c, Q);
    float *mixed = token(c, MIXED), *gate_up = token(c, GATE_UP), *act = token(c, ACT);
    int w = 2 + 8 * (int)i;
    *ops++ = norm(x, vector(c, w), normed, TCRT_OVER_TOKENS);
    *ops++ = linear(matrix(c, w + 1, QKV_DIM, DIM), normed, vector(c, w + 2), 0, qkv, 1, TCRT_OVER_TOKENS);
    *ops++ = (op){.args.rope_kv = {qkv, token(c, ANGLES), vector(c, w + 3), 0, q, PADDED(QKV_DIM), PADDED(HEAD_DIM),
                                   PADDED(Q_DIM), HEADS, KV_HEADS, HEAD_DIM, i, EPS},
                  .kernel = ROPE_KV};
    *ops++ = (op){.args.attention = {q, mixed, PADDED(Q_DIM), PADDED(Q_DIM), HEADS, KV_HEADS, HEAD_DIM, i, 0, 0.5f},
                  .kernel = ATTENTION};
    *ops++ = linear(matrix(c, w + 4, DIM, Q_DIM), mixed, 0, x, x, 0.7f, TCRT_OVER_TOKENS);
    *ops++ = norm(x, vector(c, w + 5), normed, TCRT_OVER_TOKENS);
    *ops++ = linear(matrix(c, w + 6, 2 * HIDDEN, DIM), normed, 0, 0, gate_up, 1, TCRT_OVER_TOKENS);
    *ops++ = (op){.args.swiglu = {gate_up, (uint8_t *)act, PADDED(2 * HIDDEN), 4 * PADDED(HIDDEN), HIDDEN},
                  .kernel = SWIGLU};
    *ops++ = linear(matrix(c, w + 7, DIM, HIDDEN), act, 0, x, x, 1, TCRT_OVER_TOKENS);
    return ops;
}

static void prepare(const tcrt_context *c, void *state_, uint32_t thread) {
    (void)thread;
    op *ops = ((state *)state_)->ops;
    float *x = token(c, X), *last = row(c, LAST), *last_normed = row(c, LAST_NORMED), *raw = row(c, RAW);
    int end = 2 + 8 * LAYERS;
    *ops++ = (op){.args.embed = {matrix(c, 0, VOCAB, DIM), x, PADDED(DIM), 1.5f}, .kernel = EMBED};
    *ops++ = (op){.args.rope_table = {vector(c, 1), token(c, ANGLES), PADDED(HEAD_DIM), HEAD_DIM / 2, 1, 100, 0, 0},
                  .kernel = ROPE_TABLE};
    for (uint32_t i = 0; i < LAYERS; i++)
        ops = layer(c, i, ops);
    *ops++ = (op){.args.gather = {x, last, PADDED(DIM), PADDED(DIM), DIM}, .kernel = GATHER};
    *ops++ = norm(last, vector(c, end), last_normed, TCRT_OVER_ROWS);
    *ops++ = linear(matrix(c, end + 1, VOCAB, DIM), last_normed, 0, 0, raw, 1, TCRT_OVER_ROWS);
    *ops++ = (op){.args.scale = {raw, 0, row(c, LOGITS), PADDED(VOCAB), 0, PADDED(VOCAB), VOCAB, 0.5f, TCRT_OVER_ROWS},
                  .kernel = SCALE};
}

static uint64_t run(const tcrt_context *c, const tcrt_worker *worker, const tcrt_call *call) {
    const op *ops = ((const state *)worker->state)->ops;
    uint64_t end = 0;
    for (uint32_t i = 0; i < OPS; i++) {
        const tcrt_kernel *kernel = &c->kernels[ops[i].kernel];
        uint32_t tasks = kernel->tasks(&ops[i].args, call), task;
        c->wait(c, worker, end);
        end += tasks;
        while ((task = c->take(c, worker, i, tasks, 1)) != TCRT_NONE) {
            kernel->run(&ops[i].args, call, task, task + 1);
            c->done(c, worker, 1, end);
        }
    }
    return end;
}

static const tcrt_pair metadata[] = {{TEXT("name"), TEXT("toy")}, {TEXT("writer"), TEXT("by hand")}};
static const uint32_t stop_tokens[] = {2};

TCRT_MODEL_NOTE

const tcrt_descriptor tcrt_model_descriptor = {
    .magic = TCRT_MODEL_MAGIC,
    .major = TCRT_MODEL_MAJOR,
    .minor = TCRT_MODEL_MINOR,
    .size = sizeof(tcrt_descriptor),
    .call_size = sizeof(tcrt_call),
    .kernel_count = KERNELS,
    .kernels = needs,
    .metadata = metadata,
    .metadata_count = 2,
    .vocab = VOCAB,
    .max_positions = POSITIONS,
    .layers = LAYERS,
    .kv_heads = KV_HEADS,
    .head_dim = HEAD_DIM,
    .instruction_count = OPS,
    .weight_count = sizeof(offsets) / sizeof(offsets[0]),
    .stop_token_count = 1,
    .stop_tokens = stop_tokens,
    .weights = {WEIGHTS, WEIGHTS_SIZE, "0123456789abcde", TEXT("toy.weights")},
    .token_arena = TOKEN_ARENA,
    .row_arena = ROW_ARENA,
    .logits_offset = LOGITS,
    .logits_stride = 4 * PADDED(VOCAB),
    .steps = OPS,
    .state_size = sizeof(state),
    .prepare = prepare,
    .run = run,
};
