/* Generates from a prompt with libtcrt:
 *
 *     cc generate.c $(pkg-config --cflags --libs tcrt) -o generate
 *     ./generate model.pte "Once upon a time"
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcrt.h"

static void check(tcrt_status status) {
  if (status == TCRT_OK) return;
  fprintf(stderr, "%s\n", tcrt_last_error());
  exit(1);
}

/* Prints text as it comes; the whole characters that an event brings need no buffer. */
static int32_t show(void *user, const tcrt_event *event) {
  (void)user;
  if (event->kind == TCRT_EVENT_TEXT) {
    fwrite(event->text, 1, event->text_size, stdout);
    fflush(stdout);
  }
  return 0; /* go on */
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
    return 2;
  }

  tcrt_model *model;
  tcrt_tokenizer *tokenizer;
  tcrt_session *session;
  check(tcrt_model_load(argv[1], &model));
  check(tcrt_tokenizer_of_model(model, &tokenizer));
  check(tcrt_session_new(model, NULL, &session));

  /* Ask how many tokens there are, then for the tokens. */
  const char *text = argv[2];
  size_t count;
  check(tcrt_tokenize(tokenizer, text, strlen(text), TCRT_PROMPT, NULL, 0, &count));
  uint32_t *prompt = calloc(count + 1, sizeof *prompt);
  if (!prompt) return 1;
  check(tcrt_tokenize(tokenizer, text, strlen(text), TCRT_PROMPT, prompt, count, &count));

  tcrt_sampling_options sampling = TCRT_INIT(tcrt_sampling_options);
  sampling.temperature = 0.8f;
  sampling.top_p = 0.95f;
  sampling.seed = 42;

  tcrt_generate_options options = TCRT_INIT(tcrt_generate_options);
  options.max_new = 64;
  options.sampling = &sampling;
  options.on_event = show;

  tcrt_stats stats = TCRT_INIT(tcrt_stats);
  check(tcrt_session_generate(session, tokenizer, prompt, count, &options, &stats));
  double seconds = (double)stats.decode_ns / 1e9;
  fprintf(stderr, "\n%llu tokens, %.1f a second\n", (unsigned long long)stats.new_tokens,
          seconds > 0 && stats.new_tokens > 1 ? (double)(stats.new_tokens - 1) / seconds : 0.0);

  free(prompt);
  tcrt_session_free(session);
  tcrt_tokenizer_free(tokenizer);
  tcrt_model_free(model);
  return 0;
}
