// tcrt.hpp: results by value, errors both ways, ranges, and what callbacks throw.

#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tcrt.hpp"

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      return 1;                                                            \
    }                                                                      \
  } while (0)

static tcrt::Session session_of_a_model_that_goes(const char *path) { return tcrt::Session(tcrt::Model::load(path)); }

int main(int argc, char **argv) {
  CHECK(argc == 2);
  auto missing = tcrt::Model::try_load("/no/such/model.pte");
  CHECK(!missing && missing.error().status() == TCRT_IO);
  try {
    tcrt::Model::load("/no/such/model.pte");
    CHECK(false);
  } catch (const tcrt::Error &error) {
    CHECK(error.status() == TCRT_IO && error.message().find("/no/such/model.pte") != std::string::npos);
  }

  std::ifstream file(argv[1], std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  tcrt::Model model = tcrt::Model::load(bytes.data(), bytes.size(), "copy");
  CHECK(model.info().vocab == 512 && model.metadata("writer").substr(0, 4) == "tcc ");
  tcrt::Tokenizer tokenizer = tcrt::Tokenizer::of(model);
  CHECK(tokenizer.decode(tokenizer.encode("some text")) == "some text" && tokenizer.decode({}).empty());
  CHECK(!tokenizer.stop_tokens(model).empty());

  auto options = tcrt::Session::options();
  options.max_sequences = 2;
  tcrt::Session session(model, options);
  const tcrt::Tokens prompt = tokenizer.chat(model, {tcrt::system("Be brief."), tcrt::user("Hi")});
  tcrt::Generate how;
  how.max_new = 9;
  how.flags = TCRT_GENERATE_IGNORE_STOPS;
  std::string streamed;
  how.on_text = [&](std::string_view text) { return streamed += text, true; };
  const tcrt::Reply reply = session.generate(prompt, &tokenizer, how);
  CHECK(reply.tokens.size() == 9 && reply.text == streamed && reply.stats.finish == TCRT_FINISH_LENGTH);

  tcrt::Generate formed = how;
  formed.json_schema = "{\"enum\": [\"yes\", \"no\"]}";
  const tcrt::Reply answer = session.generate(prompt, &tokenizer, formed);
  const std::string choice = answer.text.substr(answer.text.find('"'));
  CHECK((choice == "\"yes\"" || choice == "\"no\"") && answer.stats.finish == TCRT_FINISH_GRAMMAR);
  formed.grammar = "root ::= root";
  CHECK(session.try_generate(prompt, &tokenizer, formed).error().status() == TCRT_INVALID_ARGUMENT);

  // The range says what `generate` says, and ends where the context does.
  tcrt::Sampler sampler(model);
  session.rewind(0);
  session.prefill(prompt);
  tcrt::Session fork = session.fork();
  tcrt::Tokens walked;
  for (tcrt::Token token : session.stream(sampler)) {
    walked.push_back(token);
    if (walked.size() == 9) break;
  }
  CHECK(walked == reply.tokens);
  auto to_the_end = fork.stream(sampler);
  const auto length = static_cast<std::size_t>(std::distance(to_the_end.begin(), to_the_end.end()));
  CHECK(length == fork.info().context - prompt.size() + 1);
  auto none = fork.stream(sampler, {0});
  CHECK(none.error() == nullptr);

  const auto state = session.save();
  tcrt::Session later = session_of_a_model_that_goes(argv[1]);
  later.restore(state);
  CHECK(later.tokens() == session.tokens());
  CHECK(later.try_logits().error().status() == TCRT_INVALID_ARGUMENT);

  how.on_token = [](tcrt::Token) -> bool { throw std::runtime_error("mine"); };
  try {
    session.generate(prompt, &tokenizer, how);
    CHECK(false);
  } catch (const std::runtime_error &error) {
    CHECK(std::string(error.what()) == "mine");
  }
  how.on_token = [](tcrt::Token) { return false; };
  CHECK(session.generate(prompt, &tokenizer, how).stats.finish == TCRT_FINISH_CALLBACK);

  tcrt::Session moved = std::move(session);
  CHECK(session.get() == nullptr && session.try_decode(1).error().status() == TCRT_INVALID_HANDLE);
  moved.decode(1);
  return 0;
}
