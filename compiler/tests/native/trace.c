/*
 * Runs an artifact with kernels that only say how they were called: `trace FILE`. With every address it hands out fixed and
 * the same numbers in memory, what it prints is the same whatever machine the artifact was compiled for: the calls, and a
 * hash of what the code itself has computed.
 */
#define _GNU_SOURCE
#include "tcrt_model.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_KERNELS = 32, MAX_STEPS = 4096 };

static const tcrt_descriptor *model;
static uint32_t next[MAX_STEPS];
static uint64_t finished;

/* As the second of two threads whose first one never comes: its own share is the upper half, and the lower one is left to it, too. */
static uint32_t take(const tcrt_context *c, const tcrt_worker *w, uint32_t step, uint32_t tasks, uint32_t portion) {
    (void)c, (void)w;
    uint32_t portions = tasks ? (tasks + portion - 1) / portion : 0;
    if (next[step] >= portions)
        return TCRT_NONE;
    uint32_t first = (portions / 2 + next[step]++) % portions * portion;
    printf("take %u of %u\n", step, tasks);
    return first;
}

static void done(const tcrt_context *c, const tcrt_worker *w, uint32_t tasks, uint64_t upto) {
    (void)c, (void)w;
    finished += tasks;
    printf("done %u, %" PRIu64 "\n", tasks, upto);
}

static void wait(const tcrt_context *c, const tcrt_worker *w, uint64_t upto) {
    (void)c, (void)w;
    printf("wait %" PRIu64 "\n", upto);
    if (finished != upto)
        abort();
}

static void show(int kernel, const void *args, uint32_t begin, uint32_t end) {
    const tcrt_need *need = &model->kernels[kernel];
    printf("%.*s %u %u", (int)need->name.size, need->name.data, begin, end);
    for (uint64_t i = 0; i < need->args_size / 4; i++)
        printf(" %" PRIx32, ((const uint32_t *)args)[i]);
    printf("\n");
}

/* Of attention, where a context is cut. */
enum { SEEN = 600, SEGMENTS = 9 };

static uint32_t tasks(const void *args, const tcrt_call *call) {
    (void)args;
    return call->seen == SEEN ? SEGMENTS : 0;
}

#define KERNEL(i)                                                                                                       \
    static void run_##i(const void *args, const tcrt_call *call, uint32_t begin, uint32_t end) {                       \
        (void)call;                                                                                                     \
        show(i, args, begin, end);                                                                                      \
    }
KERNEL(0) KERNEL(1) KERNEL(2) KERNEL(3) KERNEL(4) KERNEL(5) KERNEL(6) KERNEL(7)
KERNEL(8) KERNEL(9) KERNEL(10) KERNEL(11) KERNEL(12) KERNEL(13) KERNEL(14) KERNEL(15)
static const tcrt_kernel kernels[] = {{run_0, tasks},  {run_1, tasks},  {run_2, tasks},  {run_3, tasks},
                                      {run_4, tasks},  {run_5, tasks},  {run_6, tasks},  {run_7, tasks},
                                      {run_8, tasks},  {run_9, tasks},  {run_10, tasks}, {run_11, tasks},
                                      {run_12, tasks}, {run_13, tasks}, {run_14, tasks}, {run_15, tasks}};

/* Numbers from -8 to 8. */
static void fill(float *values, uint64_t count) {
    uint32_t random = 1;
    for (uint64_t i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        values[i] = (float)(int32_t)random / (1u << 28);
    }
}

static uint64_t hash(const uint8_t *bytes, uint64_t size) {
    uint64_t hash = 0xcbf29ce484222325;
    for (uint64_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

static void *memory(uintptr_t at, uint64_t size) {
    void *memory = mmap((void *)at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

enum { MAX_TOKENS = 7, MAX_ROWS = 5 };

static void run(const tcrt_context *c, void *state, uint32_t n, uint32_t rows, uint32_t seen) {
    tcrt_call call = {.n = n, .rows = rows, .seen = seen};
    tcrt_worker worker = {.state = state};
    uint64_t tokens_size = model->token_arena * MAX_TOKENS, rows_size = model->row_arena * MAX_ROWS;
    memset(next, 0, sizeof next);
    finished = 0;
    fill((float *)c->tokens_arena, tokens_size / 4);
    fill((float *)c->rows_arena, rows_size / 4);
    printf("call %u %u%s\n", n, rows, seen ? " cut" : "");
    uint64_t tasks = (n == 1 && rows == 1 ? model->run_one : model->run)(c, &worker, &call);
    printf("tasks %" PRIu64 ", memory %" PRIx64 " %" PRIx64 " %" PRIx64 "\n", tasks, hash(state, model->state_size),
           hash(c->tokens_arena, tokens_size), hash(c->rows_arena, rows_size));
    if (tasks != finished)
        abort();
}

int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : 0;
    model = library ? dlsym(library, "tcrt_model_descriptor") : 0;
    if (!model || model->kernel_count > sizeof kernels / sizeof kernels[0] || model->steps > MAX_STEPS) {
        fprintf(stderr, "%s\n", library ? "no usable descriptor" : dlerror());
        return 1;
    }
    void *state = memory(0x200000000, model->state_size);
    uint8_t *tokens = memory(0x400000000, model->token_arena * MAX_TOKENS);
    uint8_t *rows = memory(0x500000000, model->row_arena * MAX_ROWS);
    for (uint32_t threads = 1; threads <= 3; threads++) {
        memset(state, 0, model->state_size);
        tcrt_context context = {kernels,    (uint8_t *)0x300000000, tokens,  rows,
                                MAX_TOKENS, MAX_ROWS,               threads, 0,
                                take,       done,                   wait};
        model->prepare(&context, state, 0);
        run(&context, state, 1, 1, 0);
        run(&context, state, 1, 1, SEEN);
        run(&context, state, 7, 5, 0);
        run(&context, state, 2, 0, 0);
    }
    return 0;
}
