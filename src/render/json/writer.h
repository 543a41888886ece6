// JSON as a stream: a document with a hundred thousand problems is never in memory as a whole.
#pragma once

#include <rapidjson/writer.h>

#include <concepts>
#include <optional>
#include <string_view>

#include "render/output.h"
#include "words/escape.h"

namespace qd::render {

// What RapidJSON writes to; it writes byte by byte.
class JsonStream {
 public:
  using Ch = char;
  explicit JsonStream(Output& out) : out_(out) {}
  JsonStream(const JsonStream&) = delete;
  JsonStream& operator=(const JsonStream&) = delete;
  ~JsonStream() { Flush(); }

  void Put(char c) {
    buffer_[used_++] = c;
    if (used_ == sizeof buffer_) Flush();
  }
  void Flush() {
    out_.write({buffer_, used_});
    used_ = 0;
  }

 private:
  Output& out_;
  std::size_t used_ = 0;
  char buffer_[4096];
};

// Objects and arrays as nested calls, so that what is opened is closed.
class Json {
 public:
  explicit Json(Output& out) : stream_(out), writer_(stream_) { writer_.SetMaxDecimalPlaces(6); }

  template <class Body>
  void object(Body&& body) {
    writer_.StartObject();
    body();
    writer_.EndObject();
  }
  template <class Body>
  void object(std::string_view name, Body&& body) {
    key(name);
    object(body);
  }
  template <class Body>
  void array(std::string_view name, Body&& body) {
    key(name);
    writer_.StartArray();
    body();
    writer_.EndArray();
  }

  void value(std::string_view name, std::string_view text) {
    key(name);
    string(text);
  }
  void value(std::string_view name, const char* text) { value(name, std::string_view(text)); }
  void value(std::string_view name, bool yes) {
    key(name);
    writer_.Bool(yes);
  }
  void value(std::string_view name, std::unsigned_integral auto number) {
    key(name);
    writer_.Uint64(number);
  }
  void value(std::string_view name, double number) {
    key(name);
    writer_.Double(number);
  }
  // Keys that don't apply are left out.
  template <class T>
  void optional(std::string_view name, const std::optional<T>& maybe) {
    if (maybe) value(name, *maybe);
  }

 private:
  void key(std::string_view name) { writer_.Key(name.data(), static_cast<rapidjson::SizeType>(name.size())); }
  void string(std::string_view text) {
    const std::string quoted = json_string(text);
    writer_.RawValue(quoted.data(), quoted.size(), rapidjson::kStringType);
  }

  JsonStream stream_;
  rapidjson::Writer<JsonStream> writer_;
};

}  // namespace qd::render
