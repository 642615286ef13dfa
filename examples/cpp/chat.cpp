// A chat at the terminal: chat MODEL [SYSTEM MESSAGE]. MODEL may be a .pte or a .so.
//
// Lines that begin with a slash are commands: /save FILE, /load FILE, /undo, /stats. Ctrl-C ends a reply; an empty line ends the chat.

#include <csignal>
#include <iostream>
#include <sstream>
#include <string>

#include "tcrt.hpp"

namespace {

volatile std::sig_atomic_t interrupted = 0;

class Chat {
 public:
  Chat(const std::string &path, std::string system)
      : model_(tcrt::Model::load(path)),
        tokenizer_(tcrt::Tokenizer::of(model_)),
        session_(model_),
        system_(std::move(system)) {
    how_.flags = TCRT_GENERATE_CHAT;
    how_.sampling.temperature = 0.7f;
    how_.sampling.top_p = 0.95f;
    how_.on_text = [](std::string_view text) {
      std::cout << text << std::flush;
      return interrupted == 0;
    };
  }

  /// The conversation is only ever appended to, so what the model has seen is not run again.
  void say(const std::string &line) {
    const std::size_t before = tokens_.size();
    tcrt::Tokens turn;
    if (tokens_.empty()) {
      std::vector<tcrt::Message> messages;
      if (!system_.empty()) messages.push_back(tcrt::system(system_));
      messages.push_back(tcrt::user(line));
      turn = tokenizer_.chat(model_, messages);
    } else {
      turn = tokenizer_.chat(model_, {tcrt::user(line)}, TCRT_CHAT_AFTER_REPLY);
    }
    tcrt::Tokens prompt = tokens_;
    prompt.insert(prompt.end(), turn.begin(), turn.end());
    interrupted = 0;
    tcrt::Reply reply = session_.generate(prompt, &tokenizer_, how_);
    std::cout << '\n';
    turns_.push_back(before);
    tokens_ = std::move(prompt);
    tokens_.insert(tokens_.end(), reply.tokens.begin(), reply.tokens.end());
    last_ = reply.stats;
  }

  void command(const std::string &line) {
    std::istringstream words(line);
    std::string name, file;
    words >> name >> file;
    if (name == "/save") {
      session_.save(file);
    } else if (name == "/load") {
      session_.restore(file);
      tokens_ = session_.tokens();
      turns_.clear();
    } else if (name == "/undo" && !turns_.empty()) {
      tokens_.resize(turns_.back());
      turns_.pop_back();
    } else if (name == "/stats") {
      stats();
    } else {
      std::cout << "there is nothing to do for " << name << '\n';
    }
  }

 private:
  void stats() const {
    auto info = session_.info();
    std::cout << info.tokens << " of " << info.context << " tokens, " << info.kv_bytes << " bytes of cache; last reply: "
              << last_.new_tokens << " tokens, " << last_.reused_tokens << " of " << last_.prompt_tokens << " reused\n";
  }

  tcrt::Model model_;
  tcrt::Tokenizer tokenizer_;
  tcrt::Session session_;
  std::string system_;
  tcrt::Generate how_;
  tcrt::Tokens tokens_;
  std::vector<std::size_t> turns_;
  tcrt_stats last_ = TCRT_INIT(tcrt_stats);
};

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::cerr << "usage: " << argv[0] << " MODEL [SYSTEM MESSAGE]\n";
    return 2;
  }
  std::signal(SIGINT, [](int) { interrupted = 1; });
  try {
    Chat chat(argv[1], argc > 2 ? argv[2] : "");
    for (std::string line; std::getline(std::cin, line) && !line.empty();) {
      try {
        if (line[0] == '/') chat.command(line);
        else chat.say(line);
      } catch (const tcrt::Error &error) {
        std::cerr << error.what() << '\n';
        if (error.status() == TCRT_INTERNAL) return 1;
      }
    }
  } catch (const tcrt::Error &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
