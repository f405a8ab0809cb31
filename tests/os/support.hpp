// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <runhouse/core/error.hpp>

#include <functional>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace rh::test {

/// A path of nothing yet, in a folder of its own that goes with this.
class temporary_place {
 public:
  std::string path() const { return file_.path(); }

 private:
  temporary_file file_;
};

/// What `body` returns in a process of its own, 99 if it throws, or -1 if a signal ended it.
inline int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (...) {
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// The message of the rh::error that `tried` ends with; what else it throws goes on. Empty if it throws nothing.
template <class Tried>
std::string message_of(errc expected, Tried&& tried) {
  try {
    tried();
  } catch (const error& e) {
    CHECK(name_of(e.kind()) == std::string(name_of(expected)));
    return e.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Sets an environment variable, and back at the end.
class variable {
 public:
  variable(std::string name, const std::optional<std::string>& value) : name_(std::move(name)) {
    if (const char* old = std::getenv(name_.c_str())) old_ = old;
    set(value);
  }
  ~variable() { set(old_); }
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;

 private:
  void set(const std::optional<std::string>& value) {
    if (value)
      ::setenv(name_.c_str(), value->c_str(), 1);
    else
      ::unsetenv(name_.c_str());
  }
  std::string name_;
  std::optional<std::string> old_;
};

}  // namespace rh::test
