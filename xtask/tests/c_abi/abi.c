/* The C ABI, from C: what works, what is refused, and that nothing of what a caller may do wrong crashes. */

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcrt.h"

#define CHECK(condition)                                                                             \
  do {                                                                                               \
    if (!(condition)) {                                                                              \
      fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition, tcrt_last_error()); \
      exit(1);                                                                                       \
    }                                                                                                \
  } while (0)
#define OK(call) CHECK((call) == TCRT_OK)
#define REFUSED(call, code, words) CHECK((call) == (code) && tcrt_last_status() == (code) && strstr(tcrt_last_error(), words))

static const char *path, *other_path; /* one model, as both kinds of artifact */
static tcrt_model *model;
static tcrt_tokenizer *tokenizer;
static const uint32_t prompt[] = {72, 101, 108, 108, 111, 32, 116, 104, 101, 114, 101};
enum { PROMPT = sizeof prompt / sizeof *prompt };

static tcrt_session *new_session(uint32_t sequences) {
  tcrt_session_options options = TCRT_INIT(tcrt_session_options);
  options.threads = 2;
  options.max_sequences = sequences;
  tcrt_session *session = NULL;
  OK(tcrt_session_new(model, &options, &session));
  return session;
}

typedef struct {
  uint32_t tokens[256];
  size_t count, text_size, stop_after;
  char text[4096];
  tcrt_session *session;
  int cancel;
} Reply;

static int32_t collect(void *user, const tcrt_event *event) {
  Reply *reply = user;
  if (event->kind == TCRT_EVENT_TOKEN) {
    CHECK(reply->count < 256);
    reply->tokens[reply->count++] = event->token;
  } else {
    CHECK(event->kind == TCRT_EVENT_TEXT && event->text[event->text_size] == 0);
    CHECK(reply->text_size + event->text_size < sizeof reply->text);
    memcpy(reply->text + reply->text_size, event->text, event->text_size);
    reply->text_size += event->text_size;
  }
  if (reply->session) {
    REFUSED(tcrt_session_decode(reply->session, 1), TCRT_BUSY, "another call");
    if (reply->cancel) OK(tcrt_session_cancel(reply->session));
  }
  return reply->stop_after && reply->count >= reply->stop_after;
}

static tcrt_stats generate(tcrt_session *session, Reply *reply, uint64_t max_new) {
  tcrt_generate_options options = TCRT_INIT(tcrt_generate_options);
  tcrt_stats stats = TCRT_INIT(tcrt_stats);
  options.flags = TCRT_GENERATE_IGNORE_STOPS;
  options.max_new = max_new;
  options.on_event = collect;
  options.user = reply;
  OK(tcrt_session_generate(session, tokenizer, prompt, PROMPT, &options, &stats));
  return stats;
}

static void models(void) {
  tcrt_model *other = NULL;
  REFUSED(tcrt_model_load(NULL, &other), TCRT_INVALID_ARGUMENT, "path is NULL");
  REFUSED(tcrt_model_load("/no/such/model.pte", &other), TCRT_IO, "/no/such/model.pte: ");
  REFUSED(tcrt_model_load("/no/such/model.so", &other), TCRT_IO, "/no/such/model.so: ");
  REFUSED(tcrt_model_load(path, NULL), TCRT_INVALID_ARGUMENT, "model is NULL");
  REFUSED(tcrt_model_load_memory((const uint8_t *)"nonsense", 8, "mine", &other), TCRT_INVALID_FILE, "mine: ");
  REFUSED(tcrt_model_load_memory(NULL, 8, NULL, &other), TCRT_INVALID_ARGUMENT, "data is NULL");
  REFUSED(tcrt_model_load_memory(NULL, 0, NULL, &other), TCRT_INVALID_FILE, "memory: ");
  CHECK(other == NULL);

  tcrt_model_info info = TCRT_INIT(tcrt_model_info);
  OK(tcrt_model_get_info(model, &info));
  CHECK(info.vocab == 512 && info.layers == 2 && info.has_tokenizer == 1 && info.has_chat == 1 && info.load_ns > 0);
  CHECK(info.size == sizeof info && info.version == TCRT_ABI_VERSION);

  char text[256];
  size_t size = 0;
  OK(tcrt_model_metadata(model, NULL, text, sizeof text, &size));
  CHECK(size == strlen(text) && strstr(text, "writer"));
  OK(tcrt_model_metadata(model, "writer", text, sizeof text, &size));
  CHECK(strncmp(text, "tcc ", 4) == 0);
  REFUSED(tcrt_model_metadata(model, "nothing", text, sizeof text, &size), TCRT_INVALID_ARGUMENT, "nothing");
}

/* What an older header and a newer one would hand in. */
static void versions(void) {
  struct {
    tcrt_session_options known;
    uint32_t more[2];
  } newer = {TCRT_INIT(tcrt_session_options), {0, 0}};
  tcrt_session *session = NULL;
  newer.known.size = sizeof newer;
  OK(tcrt_session_new(model, &newer.known, &session));
  OK(tcrt_session_free(session));
  newer.more[1] = 1;
  session = NULL;
  REFUSED(tcrt_session_new(model, &newer.known, &session), TCRT_UNSUPPORTED, "newer");

  /* Allocated to the byte, so that a sanitizer sees what is read beyond. */
  uint32_t *older = malloc(3 * sizeof *older);
  older[0] = 3 * sizeof *older, older[1] = TCRT_ABI_VERSION, older[2] = 1;
  OK(tcrt_session_new(model, (const tcrt_session_options *)(const void *)older, &session));
  uint32_t *info = malloc(4 * sizeof *info); /* size, version, threads, chunk */
  info[0] = 4 * sizeof *info, info[1] = TCRT_ABI_VERSION;
  OK(tcrt_session_get_info(session, (tcrt_session_info *)(void *)info));
  CHECK(info[0] == 16 && info[2] == 1);
  OK(tcrt_session_free(session));
  session = NULL;
  older[0] = 0;
  REFUSED(tcrt_session_new(model, (const tcrt_session_options *)(const void *)older, &session), TCRT_INVALID_ARGUMENT, "size");
  older[0] = 1u << 30;
  REFUSED(tcrt_session_new(model, (const tcrt_session_options *)(const void *)older, &session), TCRT_INVALID_ARGUMENT, "size");
  older[0] = 12, older[1] = 99;
  REFUSED(tcrt_session_new(model, (const tcrt_session_options *)(const void *)older, &session), TCRT_UNSUPPORTED, "99");
  free(info);
  free(older);

  struct {
    tcrt_stats known;
    uint64_t more;
  } stats = {TCRT_INIT(tcrt_stats), 77};
  stats.known.size = sizeof stats;
  session = new_session(1);
  OK(tcrt_session_get_stats(session, &stats.known));
  CHECK(stats.known.finish == 0 && stats.more == 0 && stats.known.size == sizeof stats);
  OK(tcrt_session_free(session));
}

static void tokenizers(void) {
  tcrt_tokenizer *other = NULL;
  REFUSED(tcrt_tokenizer_load("/no/such/file", &other), TCRT_IO, "/no/such/file");
  REFUSED(tcrt_tokenizer_load_memory((const uint8_t *)"xyz", 3, &other), TCRT_INVALID_FILE, "tokenizer");
  REFUSED(tcrt_tokenizer_of_model(model, NULL), TCRT_INVALID_ARGUMENT, "NULL");

  tcrt_tokenizer_info info = TCRT_INIT(tcrt_tokenizer_info);
  OK(tcrt_tokenizer_get_info(tokenizer, &info));
  CHECK(info.vocab == 512 && info.bos == 510 && info.eos == 511);

  const char *text = "h\xc3\xa9llo <|end_of_text|>";
  uint32_t tokens[64];
  char back[64];
  size_t count = 0, size = 0;
  OK(tcrt_tokenize(tokenizer, text, strlen(text), 0, NULL, 0, &count));
  CHECK(count == strlen(text));
  REFUSED(tcrt_tokenize(tokenizer, text, strlen(text), 0, tokens, 3, &count), TCRT_BUFFER_TOO_SMALL, "3");
  CHECK(count == strlen(text));
  OK(tcrt_tokenize(tokenizer, text, strlen(text), 0, tokens, 64, &count));
  OK(tcrt_detokenize(tokenizer, tokens, count, 0, back, sizeof back, &size));
  CHECK(size == strlen(text) && strcmp(text, back) == 0);
  REFUSED(tcrt_detokenize(tokenizer, tokens, count, 0, back, size, &size), TCRT_BUFFER_TOO_SMALL, "needed");
  OK(tcrt_tokenize(tokenizer, text, strlen(text), TCRT_PARSE_SPECIAL, tokens, 64, &count));
  CHECK(count == 8 && tokens[7] == 511);
  OK(tcrt_detokenize(tokenizer, tokens, count, TCRT_SHOW_SPECIAL, back, sizeof back, &size));
  CHECK(strcmp(text, back) == 0);
  OK(tcrt_tokenize(tokenizer, NULL, 0, 0, tokens, 64, &count));
  CHECK(count == 0);
  OK(tcrt_token_bytes(tokenizer, 'a', back, sizeof back, &size));
  CHECK(size == 1 && strcmp(back, "a") == 0);
  REFUSED(tcrt_token_bytes(tokenizer, 512, back, sizeof back, &size), TCRT_INVALID_ARGUMENT, "512");
  REFUSED(tcrt_tokenize(tokenizer, "\xff", 1, 0, tokens, 64, &count), TCRT_INVALID_ARGUMENT, "UTF-8");
  REFUSED(tcrt_tokenize(tokenizer, NULL, 1, 0, tokens, 64, &count), TCRT_INVALID_ARGUMENT, "text is NULL");
  REFUSED(tcrt_tokenize(tokenizer, "a", 1, 64, tokens, 64, &count), TCRT_INVALID_ARGUMENT, "flags");
  REFUSED(tcrt_tokenize(tokenizer, "a", 1, 0, tokens, 64, NULL), TCRT_INVALID_ARGUMENT, "count is NULL");
  REFUSED(tcrt_tokenize(tokenizer, "a", SIZE_MAX, 0, tokens, 64, &count), TCRT_INVALID_ARGUMENT, "memory");
  uint32_t *crooked = (uint32_t *)(void *)((char *)tokens + 1);
  REFUSED(tcrt_tokenize(tokenizer, "a", 1, 0, crooked, 8, &count), TCRT_INVALID_ARGUMENT, "aligned");
}

static void chats(void) {
  tcrt_message messages[] = {{TCRT_USER, "Hi"}, {TCRT_ASSISTANT, "Hello"}, {TCRT_USER, "<|end_of_text|>"}};
  tcrt_chat_options options = TCRT_INIT(tcrt_chat_options);
  uint32_t tokens[256];
  char text[1024];
  size_t count = 0, size = 0;
  OK(tcrt_chat_apply(model, tokenizer, messages, 1, NULL, tokens, 256, &count));
  OK(tcrt_detokenize(tokenizer, tokens, count, TCRT_SHOW_SPECIAL, text, sizeof text, &size));
  CHECK(strstr(text, "[INST] Hi [/INST]"));
  OK(tcrt_chat_apply(model, tokenizer, messages, 3, NULL, tokens, 256, &count));
  for (size_t i = 0; i < count; i++) CHECK(tokens[i] != 511); /* nobody writes a special token */
  options.flags = TCRT_CHAT_AFTER_REPLY;
  OK(tcrt_chat_apply(model, tokenizer, messages, 1, &options, tokens, 256, &count));
  options.flags = 0, options.year = 2026, options.month = 2, options.day = 30;
  REFUSED(tcrt_chat_apply(model, tokenizer, messages, 1, &options, tokens, 256, &count), TCRT_INVALID_ARGUMENT, "2026-2-30");
  messages[0].role = 7;
  REFUSED(tcrt_chat_apply(model, tokenizer, messages, 1, NULL, tokens, 256, &count), TCRT_INVALID_ARGUMENT, "role");
  messages[0].role = TCRT_USER, messages[0].content = NULL;
  REFUSED(tcrt_chat_apply(model, tokenizer, messages, 1, NULL, tokens, 256, &count), TCRT_INVALID_ARGUMENT, "content is NULL");
  REFUSED(tcrt_chat_apply(model, tokenizer, NULL, 0, NULL, tokens, 256, &count), TCRT_INVALID_ARGUMENT, "message");
  OK(tcrt_model_stop_tokens(model, tokenizer, TCRT_GENERATE_CHAT, tokens, 256, &count));
  CHECK(count >= 1 && tokens[count - 1] == 511);
}

/* generate, a loop of one's own, and a session that was saved all say the same. */
static void replies(void) {
  static Reply first, second;
  tcrt_session *session = new_session(1);
  tcrt_stats stats = generate(session, &first, 12);
  CHECK(stats.finish == TCRT_FINISH_LENGTH && stats.new_tokens == 12 && first.count == 12 && stats.prompt_tokens == PROMPT);
  CHECK(stats.stop_token == TCRT_NO_TOKEN && stats.reused_tokens == 0 && first.text_size > 0);
  tcrt_stats again = TCRT_INIT(tcrt_stats);
  OK(tcrt_session_get_stats(session, &again));
  CHECK(memcmp(&again, &stats, sizeof stats) == 0);

  tcrt_session *loop = new_session(1);
  tcrt_sampler *sampler = NULL;
  OK(tcrt_sampler_new(model, NULL, &sampler));
  uint32_t token = 0;
  REFUSED(tcrt_sampler_sample(sampler, loop, &token), TCRT_INVALID_ARGUMENT, "no logits");
  OK(tcrt_session_prefill(loop, prompt, PROMPT));
  float *logits = malloc(512 * sizeof *logits);
  for (size_t i = 0; i < 12; i++) {
    size_t count = 0;
    OK(tcrt_session_logits(loop, logits, 512, &count));
    CHECK(count == 512);
    OK(tcrt_sampler_sample(sampler, loop, &token));
    CHECK(token == first.tokens[i]);
    OK(tcrt_sampler_sample_logits(sampler, logits, 512, prompt, PROMPT, &token));
    CHECK(token == first.tokens[i]);
    OK(tcrt_session_decode(loop, token));
  }
  REFUSED(tcrt_sampler_sample_logits(sampler, logits, 511, NULL, 0, &token), TCRT_INVALID_ARGUMENT, "511");
  for (size_t i = 0; i < 512; i++) logits[i] = -INFINITY;
  REFUSED(tcrt_sampler_sample_logits(sampler, logits, 512, NULL, 0, &token), TCRT_NOT_FINITE, "masked");
  free(logits);

  OK(tcrt_session_rewind(loop, PROMPT));
  REFUSED(tcrt_session_rewind(loop, 1000), TCRT_INVALID_ARGUMENT, "1000");
  stats = generate(loop, &second, 12);
  CHECK(stats.reused_tokens == PROMPT - 1 && memcmp(first.tokens, second.tokens, sizeof first.tokens) == 0);
  uint32_t held[64];
  size_t count = 0;
  OK(tcrt_session_tokens(loop, held, 64, &count));
  CHECK(count == PROMPT + 11 && memcmp(held, prompt, sizeof prompt) == 0);

  tcrt_sampling_options biased = TCRT_INIT(tcrt_sampling_options);
  tcrt_logit_bias bias = {first.tokens[0], -INFINITY};
  biased.logit_bias = &bias, biased.logit_bias_count = 1;
  tcrt_sampler *other = NULL;
  OK(tcrt_sampler_new(model, &biased, &other));
  OK(tcrt_session_rewind(loop, 0));
  OK(tcrt_session_prefill(loop, prompt, PROMPT));
  OK(tcrt_sampler_sample(other, loop, &token));
  CHECK(token != first.tokens[0]);
  OK(tcrt_sampler_sample(sampler, loop, &token));
  CHECK(token == first.tokens[0]);
  biased.temperature = -1;
  REFUSED(tcrt_sampler_new(model, &biased, &other), TCRT_INVALID_ARGUMENT, "temperature");

  OK(tcrt_sampler_free(other));
  OK(tcrt_sampler_free(sampler));
  OK(tcrt_session_free(loop));
  OK(tcrt_session_free(session));
}

static void ends(void) {
  static Reply all, reply;
  tcrt_session *session = new_session(1);
  generate(session, &all, 12);

  reply = (Reply){.stop_after = 3, .session = session};
  CHECK(generate(session, &reply, 12).finish == TCRT_FINISH_CALLBACK && reply.count == 3);
  reply = (Reply){.session = session, .cancel = 1};
  CHECK(generate(session, &reply, 12).finish == TCRT_FINISH_CANCELLED && reply.count == 1);
  reply = (Reply){.stop_after = 0};
  CHECK(generate(session, &reply, 0).finish == TCRT_FINISH_CONTEXT && reply.count == 128 - PROMPT + 1);

  tcrt_generate_options options = TCRT_INIT(tcrt_generate_options);
  tcrt_stats stats = TCRT_INIT(tcrt_stats);
  options.stop_tokens = &all.tokens[2], options.stop_token_count = 1;
  OK(tcrt_session_generate(session, NULL, prompt, PROMPT, &options, &stats));
  CHECK(stats.finish == TCRT_FINISH_STOP_TOKEN && stats.stop_token == all.tokens[2]);
  char first[8] = {0};
  memcpy(first, all.text, 4);
  const char *strings[] = {first};
  options = TCRT_INIT(tcrt_generate_options);
  options.stop_strings = strings, options.stop_string_count = 1;
  OK(tcrt_session_generate(session, tokenizer, prompt, PROMPT, &options, &stats));
  CHECK(stats.finish == TCRT_FINISH_STOP_STRING);
  REFUSED(tcrt_session_generate(session, NULL, prompt, PROMPT, &options, NULL), TCRT_INVALID_ARGUMENT, "tokenizer");
  strings[0] = NULL;
  REFUSED(tcrt_session_generate(session, tokenizer, prompt, PROMPT, &options, NULL), TCRT_INVALID_ARGUMENT, "stop string");
  options = TCRT_INIT(tcrt_generate_options);
  options.flags = 32;
  REFUSED(tcrt_session_generate(session, NULL, prompt, PROMPT, &options, NULL), TCRT_INVALID_ARGUMENT, "flags");
  REFUSED(tcrt_session_generate(session, NULL, NULL, 0, NULL, NULL), TCRT_INVALID_ARGUMENT, "empty");
  uint32_t outside = 512;
  REFUSED(tcrt_session_generate(session, NULL, &outside, 1, NULL, NULL), TCRT_INVALID_ARGUMENT, "512");
  static uint32_t many[200];
  REFUSED(tcrt_session_prefill(session, many, 200), TCRT_LIMIT_EXCEEDED, "128");
  OK(tcrt_session_free(session));
}

static void states(const char *folder) {
  char file[512];
  snprintf(file, sizeof file, "%s/abi.session", folder);
  tcrt_session *session = new_session(2), *fork = NULL, *other = NULL;
  OK(tcrt_session_prefill(session, prompt, PROMPT));
  OK(tcrt_session_fork(session, &fork));
  REFUSED(tcrt_session_fork(session, &other), TCRT_LIMIT_EXCEEDED, "2 sequences");
  OK(tcrt_session_decode(session, 5));
  OK(tcrt_session_decode(fork, 6));
  uint32_t held[64];
  size_t count = 0;
  OK(tcrt_session_tokens(fork, held, 64, &count));
  CHECK(count == PROMPT + 1 && held[PROMPT] == 6);
  OK(tcrt_session_save(session, file));
  OK(tcrt_session_free(session)); /* the fork does not need it */
  OK(tcrt_session_restore(fork, file));
  OK(tcrt_session_tokens(fork, held, 64, &count));
  CHECK(count == PROMPT + 1 && held[PROMPT] == 5);

  size_t size = 0;
  tcrt_session_info info = TCRT_INIT(tcrt_session_info);
  OK(tcrt_session_get_info(fork, &info));
  OK(tcrt_session_save_memory(fork, NULL, 0, &size));
  CHECK(size == info.state_bytes && info.tokens == PROMPT + 1 && info.context == 128);
  uint8_t *state = malloc(size);
  REFUSED(tcrt_session_save_memory(fork, state, size - 1, &size), TCRT_BUFFER_TOO_SMALL, "needed");
  OK(tcrt_session_save_memory(fork, state, size, &size));
  tcrt_model *kin = NULL;
  OK(tcrt_model_load(other_path, &kin));
  OK(tcrt_session_new(kin, NULL, &other));
  OK(tcrt_session_restore_memory(other, state, size));
  OK(tcrt_session_free(other));
  OK(tcrt_model_free(kin));
  other = new_session(1);
  OK(tcrt_session_restore_memory(other, state, size));
  REFUSED(tcrt_session_restore_memory(other, state, size - 1), TCRT_INVALID_FILE, "state");
  state[size / 2] ^= 1;
  REFUSED(tcrt_session_restore_memory(other, state, size), TCRT_INVALID_FILE, "damaged");
  REFUSED(tcrt_session_restore(other, path), TCRT_INVALID_FILE, path);
  REFUSED(tcrt_session_save(other, "/no/such/folder/file"), TCRT_IO, "/no/such/folder/file");
  OK(tcrt_session_get_info(other, &info));
  CHECK(info.tokens == PROMPT + 1);
  free(state);
  CHECK(unlink(file) == 0);
  OK(tcrt_session_free(other));
  OK(tcrt_session_free(fork));
}

static void handles(void) {
  tcrt_session *session = new_session(1);
  tcrt_model *second = NULL;
  OK(tcrt_model_load(path, &second));
  tcrt_session *orphan = NULL;
  OK(tcrt_session_new(second, NULL, &orphan));
  tcrt_tokenizer *words = NULL;
  OK(tcrt_tokenizer_of_model(second, &words));
  OK(tcrt_model_free(second));
  REFUSED(tcrt_model_free(second), TCRT_INVALID_HANDLE, "freed");
  OK(tcrt_session_decode(orphan, 1)); /* its model is there still */
  OK(tcrt_session_free(orphan));
  OK(tcrt_tokenizer_free(words));
  REFUSED(tcrt_session_decode(orphan, 1), TCRT_INVALID_HANDLE, "freed");
  REFUSED(tcrt_session_free(orphan), TCRT_INVALID_HANDLE, "freed");
  REFUSED(tcrt_session_cancel(orphan), TCRT_INVALID_HANDLE, "freed");
  REFUSED(tcrt_session_new(second, NULL, &orphan), TCRT_INVALID_HANDLE, "model");

  /* Of another type, NULL, and never a handle at all. */
  REFUSED(tcrt_session_decode((tcrt_session *)model, 1), TCRT_INVALID_HANDLE, "session");
  REFUSED(tcrt_model_free((tcrt_model *)session), TCRT_INVALID_HANDLE, "model");
  REFUSED(tcrt_session_decode((tcrt_session *)(void *)&session, 1), TCRT_INVALID_HANDLE, "session");
  REFUSED(tcrt_session_decode(NULL, 1), TCRT_INVALID_HANDLE, "NULL");
  REFUSED(tcrt_session_generate(session, (tcrt_tokenizer *)model, prompt, PROMPT, NULL, NULL), TCRT_INVALID_HANDLE, "tokenizer");
  OK(tcrt_model_free(NULL));
  OK(tcrt_session_free(NULL));
  OK(tcrt_tokenizer_free(NULL));
  OK(tcrt_sampler_free(NULL));
  OK(tcrt_session_free(session));

  tcrt_session_options wrong = TCRT_INIT(tcrt_session_options);
  wrong.context = 1000;
  REFUSED(tcrt_session_new(model, &wrong, &session), TCRT_LIMIT_EXCEEDED, "1000");
  wrong = TCRT_INIT(tcrt_session_options), wrong.kv_type = 9;
  REFUSED(tcrt_session_new(model, &wrong, &session), TCRT_INVALID_ARGUMENT, "kv_type");
  wrong = TCRT_INIT(tcrt_session_options), wrong.threads = 100000;
  REFUSED(tcrt_session_new(model, &wrong, &session), TCRT_INVALID_ARGUMENT, "threads");
  wrong = TCRT_INIT(tcrt_session_options), wrong.reserved = 1;
  REFUSED(tcrt_session_new(model, &wrong, &session), TCRT_INVALID_ARGUMENT, "reserved");
}

static void *canceller(void *session) {
  tcrt_status status;
  do {
    usleep(100);
    status = tcrt_session_cancel(session);
  } while (status == TCRT_OK);
  CHECK(status == TCRT_INVALID_HANDLE && strstr(tcrt_last_error(), "freed"));
  return NULL;
}

static int32_t slowly(void *user, const tcrt_event *event) {
  (void)user, (void)event;
  usleep(5000);
  return 0;
}

/* Another thread cancels, and goes on when the session is gone; its errors are its own. */
static void threads(void) {
  tcrt_session *session = new_session(1);
  tcrt_generate_options options = TCRT_INIT(tcrt_generate_options);
  tcrt_stats stats = TCRT_INIT(tcrt_stats);
  pthread_t thread;
  options.flags = TCRT_GENERATE_IGNORE_STOPS;
  options.on_event = slowly;
  CHECK(pthread_create(&thread, NULL, canceller, session) == 0);
  OK(tcrt_session_generate(session, NULL, prompt, PROMPT, &options, &stats));
  CHECK(stats.finish == TCRT_FINISH_CANCELLED && stats.new_tokens < 100);
  REFUSED(tcrt_model_load(NULL, NULL), TCRT_INVALID_ARGUMENT, "path is NULL");
  OK(tcrt_session_free(session));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strstr(tcrt_last_error(), "path is NULL"));
}

static int lines[3];

static void take_line(void *user, uint32_t level, const char *message) {
  CHECK(user == lines && level < 3 && strlen(message) > 0);
  lines[level]++;
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  path = argv[1], other_path = argv[3];
  CHECK(tcrt_abi_version() == TCRT_ABI_VERSION && strlen(tcrt_version()) > 0);
  CHECK(tcrt_last_status() == TCRT_OK && strcmp(tcrt_last_error(), "") == 0);
  CHECK(strcmp(tcrt_status_name(TCRT_BUSY), "TCRT_BUSY") == 0 && strcmp(tcrt_status_name(99), "unknown") == 0);
  OK(tcrt_set_log(take_line, lines));
  OK(tcrt_model_load(path, &model));
  OK(tcrt_tokenizer_of_model(model, &tokenizer));
  models();
  versions();
  tokenizers();
  chats();
  replies();
  ends();
  states(argv[2]);
  handles();
  threads();
  CHECK(lines[TCRT_LOG_ERROR] > 30 && lines[TCRT_LOG_INFO] > 5);
  OK(tcrt_set_log(NULL, NULL));
  OK(tcrt_tokenizer_free(tokenizer));
  OK(tcrt_model_free(model));
  return 0;
}
