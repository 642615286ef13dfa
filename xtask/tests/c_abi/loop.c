/* Load, generate, unload, again and again: for a leak checker. */

#include <stdlib.h>

#include "tcrt.h"

#define OK(call) \
  if ((call) != TCRT_OK) return 1

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  for (int round = 0; round < atoi(argv[2]); round++) {
    tcrt_model *model, *missing;
    tcrt_tokenizer *tokenizer;
    tcrt_session *session, *fork;
    tcrt_session_options options = TCRT_INIT(tcrt_session_options);
    tcrt_generate_options generate = TCRT_INIT(tcrt_generate_options);
    const uint32_t prompt[] = {1, 2, 3};
    options.threads = 2, options.max_sequences = 2;
    generate.max_new = 4;
    OK(tcrt_model_load(argv[1], &model));
    OK(tcrt_tokenizer_of_model(model, &tokenizer));
    OK(tcrt_session_new(model, &options, &session));
    OK(tcrt_session_generate(session, tokenizer, prompt, 3, &generate, NULL));
    OK(tcrt_session_fork(session, &fork));
    OK(tcrt_session_decode(fork, 1));
    if (tcrt_model_load("/no/such/file", &missing) == TCRT_OK) return 1;
    OK(tcrt_model_free(model));
    OK(tcrt_session_free(session));
    OK(tcrt_tokenizer_free(tokenizer));
    OK(tcrt_session_free(fork));
  }
  return 0;
}
