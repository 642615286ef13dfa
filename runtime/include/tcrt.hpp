// C++17 over tcrt.h: handles that free themselves, and results by value.
//
// Every call comes twice: `load` throws tcrt::Error, `try_load` returns tcrt::Expected. Define TCRT_NO_EXCEPTIONS (or compile
// without exceptions) to have the second kind only. What tcrt.h says of threads holds here too.

#ifndef TCRT_HPP
#define TCRT_HPP

#include "tcrt.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#if !defined(TCRT_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define TCRT_NO_EXCEPTIONS
#endif

namespace tcrt {

using Token = std::uint32_t;
using Tokens = std::vector<Token>;

/// What went wrong: a stable code, and one line for people.
class Error : public std::exception {
 public:
  Error(tcrt_status status, std::string message) : status_(status), message_(std::move(message)) {}
  tcrt_status status() const noexcept { return status_; }
  const std::string &message() const noexcept { return message_; }
  const char *what() const noexcept override { return message_.c_str(); }

 private:
  tcrt_status status_;
  std::string message_;
};

/// What a call without a result gives.
struct Done {};

/// A value, or why there is none.
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Expected(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  T *operator->() noexcept { return std::get_if<0>(&state_); }
  T &operator*() noexcept { return *std::get_if<0>(&state_); }
  const Error &error() const noexcept { return *std::get_if<1>(&state_); }

  /// The value; throws the error where there is none, or aborts where exceptions are off.
  T value() && {
    if (!has_value()) {
#ifdef TCRT_NO_EXCEPTIONS
      std::abort();
#else
      throw error();
#endif
    }
    return std::move(*std::get_if<0>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

namespace detail {

inline Error last_error(tcrt_status status) { return Error(status, tcrt_last_error()); }

inline Expected<Done> done(tcrt_status status) {
  if (status != TCRT_OK) return last_error(status);
  return Done{};
}

template <class H, tcrt_status (*Free)(H *)>
struct Deleter {
  void operator()(H *handle) const noexcept { Free(handle); }
};

template <class H, tcrt_status (*Free)(H *)>
using Handle = std::unique_ptr<H, Deleter<H, Free>>;

/// Asks for the size, then for the values.
template <class Container, class Fill>
Expected<Container> filled(std::size_t terminator, Fill fill) {
  std::size_t count = 0;
  tcrt_status status = fill(nullptr, 0, &count);
  if (status != TCRT_OK) return last_error(status);
  Container values(count + terminator, typename Container::value_type());
  if (!values.empty()) status = fill(values.data(), values.size(), &count);
  if (status != TCRT_OK) return last_error(status);
  values.resize(count);
  return values;
}

}  // namespace detail

struct Message {
  std::uint32_t role;  // TCRT_SYSTEM, TCRT_USER, TCRT_ASSISTANT
  std::string content;
};

inline Message system(std::string content) { return {TCRT_SYSTEM, std::move(content)}; }
inline Message user(std::string content) { return {TCRT_USER, std::move(content)}; }
inline Message assistant(std::string content) { return {TCRT_ASSISTANT, std::move(content)}; }

class Tokenizer;

class Model {
 public:
  static Expected<Model> try_load(const std::string &path) {
    tcrt_model *handle = nullptr;
    tcrt_status status = tcrt_model_load(path.c_str(), &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Model(handle);
  }

  static Expected<Model> try_load(const void *data, std::size_t size, const std::string &name = "memory") {
    tcrt_model *handle = nullptr;
    tcrt_status status =
        tcrt_model_load_memory(static_cast<const std::uint8_t *>(data), size, name.c_str(), &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Model(handle);
  }

  Expected<tcrt_model_info> try_info() const {
    auto info = TCRT_INIT(tcrt_model_info);
    tcrt_status status = tcrt_model_get_info(get(), &info);
    if (status != TCRT_OK) return detail::last_error(status);
    return info;
  }

  Expected<std::string> try_metadata(const std::string &key) const {
    return detail::filled<std::string>(1, [&](char *value, std::size_t capacity, std::size_t *size) {
      return tcrt_model_metadata(get(), key.c_str(), value, capacity, size);
    });
  }

  tcrt_model *get() const noexcept { return handle_.get(); }

#ifndef TCRT_NO_EXCEPTIONS
  static Model load(const std::string &path) { return try_load(path).value(); }
  static Model load(const void *data, std::size_t size, const std::string &name = "memory") {
    return try_load(data, size, name).value();
  }
  tcrt_model_info info() const { return try_info().value(); }
  std::string metadata(const std::string &key) const { return try_metadata(key).value(); }
#endif

 private:
  explicit Model(tcrt_model *handle) : handle_(handle) {}
  detail::Handle<tcrt_model, tcrt_model_free> handle_;
};

class Tokenizer {
 public:
  static Expected<Tokenizer> try_of(const Model &model) {
    tcrt_tokenizer *handle = nullptr;
    tcrt_status status = tcrt_tokenizer_of_model(model.get(), &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Tokenizer(handle);
  }

  static Expected<Tokenizer> try_load(const std::string &path) {
    tcrt_tokenizer *handle = nullptr;
    tcrt_status status = tcrt_tokenizer_load(path.c_str(), &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Tokenizer(handle);
  }

  /// `flags`: 0, TCRT_PARSE_SPECIAL, TCRT_PROMPT.
  Expected<Tokens> try_encode(std::string_view text, std::uint32_t flags = 0) const {
    return detail::filled<Tokens>(0, [&](Token *tokens, std::size_t capacity, std::size_t *count) {
      return tcrt_tokenize(get(), text.data(), text.size(), flags, tokens, capacity, count);
    });
  }

  /// `flags`: 0, TCRT_SHOW_SPECIAL.
  Expected<std::string> try_decode(const Tokens &tokens, std::uint32_t flags = 0) const {
    return detail::filled<std::string>(1, [&](char *text, std::size_t capacity, std::size_t *size) {
      return tcrt_detokenize(get(), tokens.data(), tokens.size(), flags, text, capacity, size);
    });
  }

  /// The tokens of a conversation in the model's chat format.
  Expected<Tokens> try_chat(const Model &model, const std::vector<Message> &messages, std::uint32_t flags = 0) const {
    std::vector<tcrt_message> raw;
    raw.reserve(messages.size());
    for (const Message &message : messages) raw.push_back({message.role, message.content.c_str()});
    auto options = TCRT_INIT(tcrt_chat_options);
    options.flags = flags;
    return detail::filled<Tokens>(0, [&](Token *tokens, std::size_t capacity, std::size_t *count) {
      return tcrt_chat_apply(model.get(), get(), raw.data(), raw.size(), &options, tokens, capacity, count);
    });
  }

  /// The tokens that end a reply. `flags`: 0, TCRT_GENERATE_CHAT.
  Expected<Tokens> try_stop_tokens(const Model &model, std::uint32_t flags = 0) const {
    return detail::filled<Tokens>(0, [&](Token *tokens, std::size_t capacity, std::size_t *count) {
      return tcrt_model_stop_tokens(model.get(), get(), flags, tokens, capacity, count);
    });
  }

  Expected<tcrt_tokenizer_info> try_info() const {
    auto info = TCRT_INIT(tcrt_tokenizer_info);
    tcrt_status status = tcrt_tokenizer_get_info(get(), &info);
    if (status != TCRT_OK) return detail::last_error(status);
    return info;
  }

  tcrt_tokenizer *get() const noexcept { return handle_.get(); }

#ifndef TCRT_NO_EXCEPTIONS
  static Tokenizer of(const Model &model) { return try_of(model).value(); }
  static Tokenizer load(const std::string &path) { return try_load(path).value(); }
  Tokens encode(std::string_view text, std::uint32_t flags = 0) const { return try_encode(text, flags).value(); }
  std::string decode(const Tokens &tokens, std::uint32_t flags = 0) const { return try_decode(tokens, flags).value(); }
  Tokens chat(const Model &model, const std::vector<Message> &messages, std::uint32_t flags = 0) const {
    return try_chat(model, messages, flags).value();
  }
  Tokens stop_tokens(const Model &model, std::uint32_t flags = 0) const { return try_stop_tokens(model, flags).value(); }
  tcrt_tokenizer_info info() const { return try_info().value(); }
#endif

 private:
  explicit Tokenizer(tcrt_tokenizer *handle) : handle_(handle) {}
  detail::Handle<tcrt_tokenizer, tcrt_tokenizer_free> handle_;
};

inline tcrt_sampling_options sampling() { return TCRT_INIT(tcrt_sampling_options); }

class Session;

class Sampler {
 public:
  static Expected<Sampler> try_make(const Model &model, const tcrt_sampling_options &options = sampling()) {
    tcrt_sampler *handle = nullptr;
    tcrt_status status = tcrt_sampler_new(model.get(), &options, &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Sampler(handle);
  }

  inline Expected<Token> try_sample(Session &session);
  tcrt_sampler *get() const noexcept { return handle_.get(); }

#ifndef TCRT_NO_EXCEPTIONS
  explicit Sampler(const Model &model, const tcrt_sampling_options &options = sampling())
      : Sampler(try_make(model, options).value()) {}
  inline Token sample(Session &session);
#endif

 private:
  explicit Sampler(tcrt_sampler *handle) : handle_(handle) {}
  detail::Handle<tcrt_sampler, tcrt_sampler_free> handle_;
};

/// Options of Session::generate.
struct Generate {
  std::uint64_t max_new = 0;  // 0: as many as fit
  tcrt_sampling_options sampling = tcrt::sampling();
  std::uint32_t flags = 0;  // TCRT_GENERATE_CHAT, TCRT_GENERATE_IGNORE_STOPS
  Tokens stop_tokens = {};
  std::vector<std::string> stop_strings = {};
  // What the reply must be: one of the two, or neither. They need a tokenizer.
  std::string grammar = {};
  std::string json_schema = {};
  /// Take the reply as it comes; false ends it. What they throw ends it too, and comes out of `generate`.
  std::function<bool(Token)> on_token = {};
  std::function<bool(std::string_view)> on_text = {};
};

struct Reply {
  Tokens tokens;
  std::string text;
  tcrt_stats stats;
};

class TokenRange;

class Session {
 public:
  static tcrt_session_options options() { return TCRT_INIT(tcrt_session_options); }

  static Expected<Session> try_make(const Model &model, const tcrt_session_options &options = Session::options()) {
    tcrt_session *handle = nullptr;
    tcrt_status status = tcrt_session_new(model.get(), &options, &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Session(handle);
  }

  Expected<Session> try_fork() {
    tcrt_session *handle = nullptr;
    tcrt_status status = tcrt_session_fork(get(), &handle);
    if (status != TCRT_OK) return detail::last_error(status);
    return Session(handle);
  }

  Expected<Done> try_prefill(const Tokens &tokens) {
    return detail::done(tcrt_session_prefill(get(), tokens.data(), tokens.size()));
  }
  Expected<Done> try_decode(Token token) { return detail::done(tcrt_session_decode(get(), token)); }
  Expected<Done> try_rewind(std::size_t length) { return detail::done(tcrt_session_rewind(get(), length)); }
  Expected<Done> try_save(const std::string &path) { return detail::done(tcrt_session_save(get(), path.c_str())); }
  Expected<Done> try_restore(const std::string &path) {
    return detail::done(tcrt_session_restore(get(), path.c_str()));
  }
  Expected<Done> try_restore(const std::vector<std::uint8_t> &state) {
    return detail::done(tcrt_session_restore_memory(get(), state.data(), state.size()));
  }

  Expected<std::vector<std::uint8_t>> try_save() {
    using State = std::vector<std::uint8_t>;
    return detail::filled<State>(0, [&](std::uint8_t *data, std::size_t capacity, std::size_t *size) {
      return tcrt_session_save_memory(get(), data, capacity, size);
    });
  }

  Expected<std::vector<float>> try_logits() {
    return detail::filled<std::vector<float>>(0, [&](float *logits, std::size_t capacity, std::size_t *count) {
      return tcrt_session_logits(get(), logits, capacity, count);
    });
  }

  Expected<Tokens> try_tokens() const {
    return detail::filled<Tokens>(0, [&](Token *tokens, std::size_t capacity, std::size_t *count) {
      return tcrt_session_tokens(get(), tokens, capacity, count);
    });
  }

  Expected<tcrt_session_info> try_info() const {
    auto info = TCRT_INIT(tcrt_session_info);
    tcrt_status status = tcrt_session_get_info(get(), &info);
    if (status != TCRT_OK) return detail::last_error(status);
    return info;
  }

  /// Goes on from `prompt`, all the tokens that the model is to see. A tokenizer gives text.
  Expected<Reply> try_generate(const Tokens &prompt, const Tokenizer *tokenizer = nullptr, const Generate &how = {}) {
    Collector collector{how, Reply{{}, {}, TCRT_INIT(tcrt_stats)}, nullptr};
    std::vector<const char *> strings;
    for (const std::string &string : how.stop_strings) strings.push_back(string.c_str());
    auto options = TCRT_INIT(tcrt_generate_options);
    options.flags = how.flags;
    options.max_new = how.max_new;
    options.sampling = &how.sampling;
    options.stop_tokens = how.stop_tokens.data();
    options.stop_token_count = how.stop_tokens.size();
    options.stop_strings = strings.data();
    options.stop_string_count = strings.size();
    options.grammar = how.grammar.empty() ? nullptr : how.grammar.c_str();
    options.json_schema = how.json_schema.empty() ? nullptr : how.json_schema.c_str();
    options.on_event = Collector::take;
    options.user = &collector;
    tcrt_status status = tcrt_session_generate(get(), tokenizer ? tokenizer->get() : nullptr, prompt.data(),
                                               prompt.size(), &options, &collector.reply.stats);
#ifndef TCRT_NO_EXCEPTIONS
    if (collector.thrown) std::rethrow_exception(collector.thrown);
#endif
    if (status != TCRT_OK) return detail::last_error(status);
    return std::move(collector.reply);
  }

  /// Ends the prefill or generate under way, from any thread.
  void cancel() const noexcept { tcrt_session_cancel(get()); }

  /// The tokens to follow, one by one, as the range is walked; `stops` end it, and so does the context's end.
  inline TokenRange stream(Sampler &sampler, Tokens stops = {});

  tcrt_session *get() const noexcept { return handle_.get(); }

#ifndef TCRT_NO_EXCEPTIONS
  explicit Session(const Model &model, const tcrt_session_options &options = Session::options())
      : Session(try_make(model, options).value()) {}
  Session fork() { return try_fork().value(); }
  void prefill(const Tokens &tokens) { try_prefill(tokens).value(); }
  void decode(Token token) { try_decode(token).value(); }
  void rewind(std::size_t length) { try_rewind(length).value(); }
  void save(const std::string &path) { try_save(path).value(); }
  void restore(const std::string &path) { try_restore(path).value(); }
  void restore(const std::vector<std::uint8_t> &state) { try_restore(state).value(); }
  std::vector<std::uint8_t> save() { return try_save().value(); }
  std::vector<float> logits() { return try_logits().value(); }
  Tokens tokens() const { return try_tokens().value(); }
  tcrt_session_info info() const { return try_info().value(); }
  Reply generate(const Tokens &prompt, const Tokenizer *tokenizer = nullptr, const Generate &how = {}) {
    return try_generate(prompt, tokenizer, how).value();
  }
#endif

 private:
  /// Gathers a reply. Nothing may be thrown through C, so what a callback throws waits here.
  struct Collector {
    const Generate &how;
    Reply reply;
    std::exception_ptr thrown;

    bool add(const tcrt_event &event) {
      if (event.kind == TCRT_EVENT_TOKEN) {
        reply.tokens.push_back(event.token);
        return !how.on_token || how.on_token(event.token);
      }
      if (event.kind != TCRT_EVENT_TEXT) return true;
      std::string_view text(event.text, event.text_size);
      reply.text += text;
      return !how.on_text || how.on_text(text);
    }

    static std::int32_t take(void *user, const tcrt_event *event) noexcept {
      auto *self = static_cast<Collector *>(user);
#ifdef TCRT_NO_EXCEPTIONS
      return self->add(*event) ? 0 : 1;
#else
      if (self->thrown) return 1;
      try {
        return self->add(*event) ? 0 : 1;
      } catch (...) {
        self->thrown = std::current_exception();
        return 1;
      }
#endif
    }
  };

  explicit Session(tcrt_session *handle) : handle_(handle) {}
  detail::Handle<tcrt_session, tcrt_session_free> handle_;
};

inline Expected<Token> Sampler::try_sample(Session &session) {
  Token token = 0;
  tcrt_status status = tcrt_sampler_sample(get(), session.get(), &token);
  if (status != TCRT_OK) return detail::last_error(status);
  return token;
}

#ifndef TCRT_NO_EXCEPTIONS
inline Token Sampler::sample(Session &session) { return try_sample(session).value(); }
#endif

/// Tokens as they are made, for one walk. The session must have been prefilled; each step appends the token before. A failure throws,
/// or ends the range where exceptions are off; `error` has it then.
class TokenRange {
 public:
  TokenRange(Session &session, Sampler &sampler, Tokens stops)
      : session_(&session), sampler_(&sampler), stops_(std::move(stops)) {}

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Token;
    using difference_type = std::ptrdiff_t;
    using pointer = const Token *;
    using reference = const Token &;

    iterator() = default;
    explicit iterator(TokenRange *range) : range_(range) { sample(); }
    reference operator*() const { return token_; }
    pointer operator->() const { return &token_; }
    iterator &operator++() {
      if (range_->append(token_)) sample();
      else range_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator &a, const iterator &b) { return a.range_ == b.range_; }
    friend bool operator!=(const iterator &a, const iterator &b) { return a.range_ != b.range_; }

   private:
    void sample() {
      if (!range_->next(token_)) range_ = nullptr;
    }
    TokenRange *range_ = nullptr;
    Token token_ = 0;
  };

  iterator begin() { return iterator(this); }
  iterator end() { return iterator(); }
  /// Why the range ended early, where a failure ended it.
  const Error *error() const noexcept { return error_.get(); }

 private:
  template <class T>
  bool check(const Expected<T> &result) {
    if (result) return true;
    error_ = std::make_unique<Error>(result.error());
#ifndef TCRT_NO_EXCEPTIONS
    throw *error_;
#else
    return false;
#endif
  }

  bool next(Token &token) {
    auto sampled = sampler_->try_sample(*session_);
    if (!check(sampled)) return false;
    token = *sampled;
    for (Token stop : stops_)
      if (stop == token) return false;
    return true;
  }

  bool append(Token token) {
    auto info = session_->try_info();
    if (!check(info)) return false;
    return info->tokens < info->context && check(session_->try_decode(token));
  }

  Session *session_;
  Sampler *sampler_;
  Tokens stops_;
  std::unique_ptr<Error> error_;
};

inline TokenRange Session::stream(Sampler &sampler, Tokens stops) {
  return TokenRange(*this, sampler, std::move(stops));
}

}  // namespace tcrt

#endif  // TCRT_HPP
