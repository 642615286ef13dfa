/*
 * The ABI between libtcrt and a native model artifact (`model.so`).
 *
 * An artifact is an ELF shared object that needs no library. It has a note (`TCRT_MODEL_NOTE`), by which libtcrt knows
 * it and its ABI before it is loaded, and exports one object, `tcrt_model_descriptor`, of the type below. Everything else is
 * reached from there. docs/native-artifacts.md explains how the pieces work together.
 *
 * Evolution. A field is never removed, moved or given another meaning. New ones are appended to `tcrt_descriptor`,
 * `tcrt_context` and `tcrt_call`, and the minor version grows: an older artifact runs on a newer libtcrt, which sees
 * from `size` what the artifact has; an artifact that uses a newer minor version than libtcrt has is refused, and so is
 * another major version. A kernel whose arguments or arithmetic change gets a new name; padding, which is zero in every
 * artifact, may become a field of which zero means what was before.
 *
 * All numbers are in the machine's byte order (little-endian), pointers have 64 bits. Texts are UTF-8 and end in no zero.
 */
#ifndef TCRT_MODEL_H
#define TCRT_MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TCRT_MODEL_MAJOR 1
#define TCRT_MODEL_MINOR 3
#define TCRT_MODEL_MAGIC {'T', 'C', 'R', 'T', 'M', 'O', 'D', 0}

/* ---- Kernels ---------------------------------------------------------------------------------------------------- */

/* Positions in one block of the KV cache, and output rows in one block of a packed weight. */
#define TCRT_KV_BLOCK 64
#define TCRT_BLOCK_ROWS 16

/* What one call of the model is: a ragged batch of `n` tokens. */
typedef struct tcrt_call {
    uint32_t n;                /* tokens */
    uint32_t rows;             /* rows whose logits are asked for */
    const uint32_t *tokens;    /* [n], each below `vocab` */
    const uint32_t *positions; /* [n], each below `max_positions` */
    const uint32_t *sequences; /* [n], which block table a token's sequence has */
    const uint32_t *out_rows;  /* [rows], indices into the n tokens */
    uint8_t *kv;               /* block b begins at kv + b * kv_block_bytes */
    uint64_t kv_block_bytes;
    const uint32_t *tables;    /* [sequences][table_stride] block ids */
    uint32_t table_stride;
    uint32_t kv_dtype;         /* 0: f32, 1: f16, 2: i8 with scales */
    /* Since 1.3: where KV heads alone are too few for all threads, the positions that the only token sees, its own counted, and
     * memory for what "attention_segments" sums up; 0 where it is to be "attention". */
    uint32_t seen;
    uint8_t *sums;
} tcrt_call;

/* Runs tasks begin..end of a kernel; `args` is the kernel's own struct of constants. Each task is run once, by any thread. */
typedef void (*tcrt_run)(const void *args, const tcrt_call *call, uint32_t begin, uint32_t end);
/* How many tasks a call has. */
typedef uint32_t (*tcrt_tasks)(const void *args, const tcrt_call *call);

/* What libtcrt gives for a kernel: the best variant that this CPU has. */
typedef struct tcrt_kernel {
    tcrt_run run;
    tcrt_tasks tasks;
} tcrt_kernel;

/* Whether an instruction works on all tokens or on the rows whose logits are asked for. */
enum { TCRT_OVER_TOKENS = 0, TCRT_OVER_ROWS = 1 };

/* A packed weight matrix [rows, cols]. kind: 0 f32, 1 f16, 2 bf16, 3 i8, 4 i4 and on, see kernels/src/layout.rs;
 * group: inputs per scale, 0 for float kinds. Begins at a multiple of 64 bytes. */
typedef struct tcrt_matrix {
    const uint8_t *data;
    uint32_t rows, cols, kind, group;
} tcrt_matrix;

/*
 * The kernels' arguments, by name of the kernel. Buffers hold one row for each token (or requested row), `*_stride` apart:
 * of f32 (padded to multiples of 16 values, strides in values) or of "q8" or "q8x2" (strides in bytes). Tasks in brackets.
 */
typedef struct tcrt_embed_args { /* embed [n] */
    tcrt_matrix table;
    float *y;
    uint32_t y_stride;
    float scale;
} tcrt_embed_args;

typedef struct tcrt_rope_table_args { /* rope_table [n] */
    const float *inv_freq;
    float *y;
    uint32_t y_stride, half;
    float magnitude, theta, dynamic_factor;
    uint32_t original;
} tcrt_rope_table_args;

typedef struct tcrt_norm_args { /* rms_norm, rms_norm_q8, rms_norm_q8x2 [n or rows] */
    const float *x, *w;
    uint8_t *y;
    uint32_t x_stride, y_stride /* bytes */, dim;
    float eps;
    uint32_t over;
} tcrt_norm_args;

typedef struct tcrt_quantize_args { /* quantize_q8, quantize_q8x2 [n or rows] */
    const float *x;
    uint8_t *y;
    uint32_t x_stride, y_stride /* bytes */, dim, over;
} tcrt_quantize_args;

typedef struct tcrt_linear_args { /* linear, linear_q8, linear_q8x2, linear_q8_one [w.rows / 16, rounded up] */
    tcrt_matrix w;
    const uint8_t *x;
    const float *bias, *residual; /* or NULL */
    float *y;
    uint32_t x_stride /* bytes */, y_stride;
    float alpha;
    uint32_t over;
} tcrt_linear_args;

typedef struct tcrt_swiglu_args { /* swiglu, swiglu_q8, swiglu_q8x2 [n or rows], swiglu_q8_groups, swiglu_q8x2_groups [the same * groups of 32 columns, token-major] */
    const float *x;
    uint8_t *y;
    uint32_t x_stride, y_stride /* bytes */, dim;
    uint32_t over; /* Since 1.2; before, padding, which is zero. */
} tcrt_swiglu_args;

typedef struct tcrt_rope_kv_args { /* rope_kv [n * kv_heads, token-major] */
    const float *qkv, *table, *q_norm, *k_norm; /* norms or NULL */
    float *q_out;
    uint32_t qkv_stride, table_stride, q_stride, heads, kv_heads, head_dim, layer;
    float eps;
} tcrt_rope_kv_args;

typedef struct tcrt_attention_args { /* attention [n * kv_heads, token-major] */
    const float *q;
    float *y;
    uint32_t q_stride, y_stride, heads, kv_heads, head_dim, layer, window;
    float scale;
} tcrt_attention_args;

typedef struct tcrt_gather_args { /* gather_rows [rows] */
    const float *x;
    float *y;
    uint32_t x_stride, y_stride, dim;
} tcrt_gather_args;

typedef struct tcrt_concat_args { /* concat_cols [n] */
    const float *a, *b;
    float *y;
    uint32_t a_stride, b_stride, y_stride, a_dim, b_dim;
} tcrt_concat_args;

typedef struct tcrt_elementwise_args { /* add, mul, silu, scale [n or rows] */
    const float *a, *b; /* b or NULL */
    float *y;
    uint32_t a_stride, b_stride, y_stride, dim;
    float scale;
    uint32_t over;
} tcrt_elementwise_args;

/* ---- What libtcrt gives to the code ------------------------------------------------------------------------------ */

typedef struct tcrt_context tcrt_context;
typedef struct tcrt_worker tcrt_worker;

/*
 * Threads. Every thread of the engine calls `run` for every call of the model, but a thread may come late, or when the call
 * is over already: nobody waits for threads, only for tasks. So the work is cut into steps and these into tasks; a
 * thread takes tasks, does them and says so. Only between taking a task and having said that it is done may a thread touch
 * anything that other threads write, or what the call's pointers lead to (its own numbers it may always read). Where a
 * step reads what an earlier one wrote, it waits until that one's tasks are done. Results do not depend on who did what.
 *
 *     context->wait(context, worker, before);      // where needed: all `before` tasks of the steps so far are done
 *     while ((first = context->take(context, worker, step, tasks, portion)) != TCRT_NONE) {
 *         ... tasks first to min(first + portion, tasks) ...
 *         context->done(context, worker, min(portion, tasks - first), before + tasks);
 *     }
 */
#define TCRT_NONE UINT32_MAX

/* One thread in one call. */
struct tcrt_worker {
    void *state; /* the thread's own, as `prepare` left it or a call before this one */
    uint32_t thread;
    uint32_t unused;
    uint64_t reserved[2]; /* libtcrt's */
};

/* One for each engine that runs the model; never changes once `prepare` has been called. */
struct tcrt_context {
    const tcrt_kernel *kernels; /* in the order of tcrt_descriptor.kernels */
    const uint8_t *weights;
    uint8_t *tokens_arena;      /* token_arena * max_tokens bytes, at a multiple of 64 */
    uint8_t *rows_arena;        /* row_arena * max_rows bytes, at a multiple of 64 */
    uint32_t max_tokens;        /* no call has more */
    uint32_t max_rows;
    uint32_t threads;
    uint32_t unused;
    /* The first of the next `portion` tasks of a step that has `tasks`; TCRT_NONE where all are taken or the call is over.
     * In a call, all threads name the same numbers for a step. */
    uint32_t (*take)(const tcrt_context *, const tcrt_worker *, uint32_t step, uint32_t tasks, uint32_t portion);
    /* `tasks` that were taken are done. `upto`: tasks of the call up to and with this step. */
    void (*done)(const tcrt_context *, const tcrt_worker *, uint32_t tasks, uint64_t upto);
    /* Returns once the first `upto` tasks of the call are done. */
    void (*wait)(const tcrt_context *, const tcrt_worker *, uint64_t upto);
};

/* ---- What the artifact exports ----------------------------------------------------------------------------------- */

typedef struct tcrt_text {
    const char *data;
    uint64_t size;
} tcrt_text;

typedef struct tcrt_bytes {
    const void *data;
    uint64_t size;
} tcrt_bytes;

typedef struct tcrt_pair {
    tcrt_text key, value;
} tcrt_pair;

/* A kernel that the code calls. */
typedef struct tcrt_need {
    tcrt_text name;
    uint64_t args_size; /* sizeof of its arguments, as the code makes them */
} tcrt_need;

typedef struct tcrt_weights {
    const uint8_t *data; /* at a multiple of 64; NULL: in a file of its own */
    uint64_t size;
    uint8_t id[16];      /* of a file of its own: what its header must say */
    tcrt_text file;      /* of a file of its own: its name, in the artifact's directory */
} tcrt_weights;

/* extern const tcrt_descriptor tcrt_model_descriptor; */
typedef struct tcrt_descriptor {
    char magic[8];
    uint16_t major, minor;
    uint32_t size;      /* sizeof(tcrt_descriptor), as the artifact knows it */
    uint32_t call_size; /* sizeof(tcrt_call) */
    uint32_t kernel_count;
    const tcrt_need *kernels;
    const tcrt_pair *metadata; /* for people: name, family, recipe, writer */
    uint64_t metadata_count;

    uint32_t vocab, max_positions;
    uint32_t layers, kv_heads, head_dim; /* of the KV cache */
    uint32_t instruction_count, weight_count; /* for people */
    uint32_t stop_token_count;
    const uint32_t *stop_tokens;
    tcrt_bytes tokenizer, chat; /* size 0: none */
    tcrt_weights weights;

    uint64_t token_arena, row_arena; /* bytes for each token of a call, for each row of logits */
    uint64_t logits_offset; /* row r of the logits is at rows_arena + logits_offset * max_rows + r * logits_stride */
    uint32_t logits_stride; /* bytes */
    uint32_t steps;         /* more than any step's number */
    uint64_t state_size;    /* bytes of its own that each thread gets, zeroed, at a multiple of 64 */

    /* Called once for each thread before anything is run: fills in what does not change from call to call. */
    void (*prepare)(const tcrt_context *context, void *state, uint32_t thread);
    /* One thread's part of the forward pass. Returns how many tasks the call has, whoever does them. */
    uint64_t (*run)(const tcrt_context *context, const tcrt_worker *worker, const tcrt_call *call);
    /* The same where n = 1 and rows = 1; NULL: `run` does it. */
    uint64_t (*run_one)(const tcrt_context *context, const tcrt_worker *worker, const tcrt_call *call);

    /* Since 1.1: where `run` (not `run_one`) leaves the hidden states that the requested rows' logits are made of, after the last
     * norm. Row r is at rows_arena + hidden_offset * max_rows + r * hidden_stride. */
    uint64_t hidden_offset;
    uint32_t hidden_stride; /* bytes */
    uint32_t hidden_width;  /* values; 0: it does not say */
    uint32_t hidden_kind;   /* 0: f32; 1: "q8"; 2: "q8x2"; see kernels/src/layout.rs */
    uint32_t heads;         /* Since 1.3: query heads of the attention with the most; 0: `seen` is to be 0 */
} tcrt_descriptor;

/* A file of weights: this header, zeros up to TCRT_WEIGHTS_OFFSET, then tcrt_weights.size bytes. */
#define TCRT_WEIGHTS_MAGIC {'T', 'C', 'R', 'T', 'W', 'G', 'T', 0}
#define TCRT_WEIGHTS_OFFSET 16384
typedef struct tcrt_weights_header {
    char magic[8];
    uint16_t major, minor;
    uint32_t unused;
    uint64_t size;
    uint8_t id[16];
} tcrt_weights_header;

/* The ELF note by which an artifact is known before it is loaded: owner "TCRT", type 1. */
typedef struct tcrt_note {
    uint32_t name_size, size, type;
    char name[8];
    uint16_t major, minor;
    uint32_t unused;
} tcrt_note;

#define TCRT_MODEL_NOTE                                                                                                 \
    __attribute__((section(".note.tcrt"), used, aligned(4))) static const tcrt_note tcrt_model_note = {                 \
        5, 8, 1, "TCRT", TCRT_MODEL_MAJOR, TCRT_MODEL_MINOR, 0};

#ifdef __cplusplus
}
#endif

#endif
