// SPDX-License-Identifier: Apache-2.0
#include <runhouse/needs/needs.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"

#include <cereal/types/map.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <sys/file.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

namespace {

int own_pid() {
  return getpid();
}
std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? value : "(unset)";
}
std::string folder() {
  return std::filesystem::current_path();
}
int add(int a, int b) {
  return a + b;
}
int nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}

/// What the workers of this test see together: memory that is passed by its path below /proc.
struct shared_counts {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::atomic<int> clashes{0};
  std::atomic<bool> go{false};
};
class shared_page {
 public:
  explicit shared_page(const std::string& path) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) throw std::runtime_error("no page");
    at_ = static_cast<shared_counts*>(mmap(nullptr, sizeof(shared_counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    close(fd);
  }
  ~shared_page() { munmap(at_, sizeof(shared_counts)); }
  shared_counts* operator->() const { return at_; }

 private:
  shared_counts* at_;
};
struct page_file {
  std::string path = "/tmp/runhouse_needs_" + std::to_string(getpid()) + "_" + std::to_string(next++);
  page_file() { std::ofstream(path) << std::string(sizeof(shared_counts), '\0'); }
  ~page_file() { std::filesystem::remove(path); }
  static inline int next = 0;
};

/// Counts itself among those that run; returns the GPUs that it sees.
std::string work(const std::string& page, int milliseconds) {
  const shared_page counts(page);
  const int running = ++counts->running;
  int most = counts->most;
  while (most < running && !counts->most.compare_exchange_weak(most, running)) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  --counts->running;
  return variable("CUDA_VISIBLE_DEVICES");
}
std::string hold_gpus(const std::string& page) {
  const shared_page counts(page);
  ++counts->running;
  while (!counts->go) std::this_thread::sleep_for(1ms);
  --counts->running;
  return variable("CUDA_VISIBLE_DEVICES");
}
/// Notices if another process has the same GPU at the time.
std::string use_gpu_alone(const std::string& page, bool dies) {
  const shared_page counts(page);
  const std::string gpu = variable("CUDA_VISIBLE_DEVICES");
  const std::string mark = page + gpu;
  const int fd = open(mark.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) ++counts->clashes;
  std::this_thread::sleep_for(2ms);
  if (dies) std::raise(SIGKILL);
  close(fd);
  return gpu;
}

template <class Body>
rh::error error_of(Body body) {
  try {
    body();
  } catch (const rh::error& e) {
    return e;
  }
  throw std::logic_error("no error");
}
bool in_time(auto condition) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// An environment variable for as long as this lives.
class with_variable {
 public:
  with_variable(std::string name, const std::string& value) : name_(std::move(name)) {
    const char* before = std::getenv(name_.c_str());
    if (before != nullptr) before_ = before;
    setenv(name_.c_str(), value.c_str(), 1);
  }
  ~with_variable() {
    if (before_) {
      setenv(name_.c_str(), before_->c_str(), 1);
    } else {
      unsetenv(name_.c_str());
    }
  }
  with_variable(const with_variable&) = delete;
  with_variable& operator=(const with_variable&) = delete;

 private:
  std::string name_;
  std::optional<std::string> before_;
};

/// A machine with GPUs, as nvidia-smi tells of them: the uuids are of this process, so that other tests have others.
class some_gpus {
 public:
  explicit some_gpus(int count) {
    std::filesystem::create_directory(folder_);
    std::string script = "#!/bin/sh\n[ \"$1\" = --query-gpu=uuid,memory.free ] || exit 1\n";
    for (int i = 0; i < count; ++i) script += "echo '" + uuid(i) + ", " + std::to_string(1000 + i) + "'\n";
    write(script);
  }
  explicit some_gpus(const std::string& script) {
    std::filesystem::create_directory(folder_);
    write(script);
  }
  ~some_gpus() {
    path_.reset();
    std::filesystem::remove_all(folder_);
    for (int i = 0; i < 3; ++i) {
      const std::string claim = "/tmp/runhouse-" + std::to_string(getuid()) + "/claims/" + uuid(i);
      std::filesystem::remove(claim);
      std::filesystem::remove(claim + ".wanted");
    }
  }
  static std::string uuid(int i) { return "GPU-test-" + std::to_string(getpid()) + "-" + std::to_string(i); }

 private:
  void write(const std::string& script) {
    std::ofstream(folder_ + "/nvidia-smi") << script;
    std::filesystem::permissions(folder_ + "/nvidia-smi", std::filesystem::perms::owner_all);
    path_ = std::make_unique<with_variable>("PATH", folder_ + ":" + std::getenv("PATH"));
  }
  const std::string folder_ = "/tmp/runhouse_gpus_" + std::to_string(getpid());
  std::unique_ptr<with_variable> path_;
};

TEST_CASE("needs are values that travel", "[needs]") {
  const rh::needs all(rh::gpus(2), rh::cpus(3), rh::memory(1ull << 33), rh::resource("license", 1), rh::env("A", "b c"),
                      rh::cwd("/tmp"));
  CHECK(all != rh::needs());
  const rh::wire::payload encoded = rh::wire::encode(all);
  std::vector<std::span<const std::byte>> segments;
  CHECK(rh::wire::decode<rh::needs>(rh::wire::view(encoded, segments)) == all);
  CHECK(rh::needs(all) == all);
}

TEST_CASE("a need that makes no sense is refused where it is written", "[needs]") {
  for (const auto& bad : std::vector<std::function<void()>>{
           [] { rh::needs n(rh::cpus(0)); }, [] { rh::needs n(rh::resource("", 1)); },
           [] { rh::needs n(rh::env("", "x")); }, [] { rh::needs n(rh::env("A=B", "x")); },
           [] { rh::needs n(rh::env("RUNHOUSE_WORKER", "x")); }, [] { rh::needs n(rh::env("A", std::string("x\0y", 3))); },
           [] { rh::needs n(rh::env("A", std::string(128 * 1024 - 2, 'x'))); }, [] { rh::needs n(rh::cwd("")); }}) {
    CHECK(error_of(bad).kind() == rh::errc::impossible_needs);
  }
}

TEST_CASE("what the machine does not have fails at once, and says how much it has", "[needs]") {
  const rh::cluster own = rh::local(2);
  const auto refused = [&](auto call, const std::string& says) {
    const rh::error e = error_of([&] { call.get(); });
    CHECK(e.kind() == rh::errc::impossible_needs);
    CHECK(e.origin().reached == rh::stage::not_started);
    INFO(e.what());
    CHECK(std::string(e.what()).find(says) != std::string::npos);
  };
  refused(own.send<&add>(rh::cpus(100'000))(1, 2), "each call needs 100000 CPUs; local has ");
  refused(own.send<&add>(rh::memory(1ull << 60))(1, 2), "bytes of memory; local has ");
  refused(own.send<&add>(rh::resource("license", 1))(1, 2),
          "needs 1 of 'license'; local has 0 (RUNHOUSE_RESOURCES says how many)");
  auto kept = own.send<&add>(rh::cpus(100'000)).remote(1, 2);
  CHECK(error_of([&] { own.send<&add>()(kept, 1).get(); }).kind() == rh::errc::impossible_needs);
  auto all = own.send<&add>(rh::cpus(100'000)).map(std::vector<int>(100), 1);
  CHECK(error_of([&] { all.get(); }).kind() == rh::errc::impossible_needs);
  CHECK(own.usage().unfinished_calls == 0);
}

TEST_CASE("calls have the environment and the folder that they need", "[needs]") {
  const rh::cluster own = rh::local(2);
  const with_variable outside("RH_TEST_OUTSIDE", "outside");
  auto see = own.send<&variable>(rh::env("RH_TEST_A", "a=1, b"), rh::env("RH_TEST_OUTSIDE", "inside"));
  CHECK(see("RH_TEST_A").get() == "a=1, b");
  CHECK(see("RH_TEST_OUTSIDE").get() == "inside");
  CHECK(see("RUNHOUSE_WORKER").get() == "(unset)");
  CHECK(own.send<&variable>()("RH_TEST_A").get() == "(unset)");
  CHECK(own.send<&variable>()("RH_TEST_OUTSIDE").get() == "outside");
  CHECK(own.send<&folder>(rh::cwd("/proc"))().get() == "/proc");
  CHECK(own.send<&folder>()().get() == folder());
  const rh::error e = error_of([&] { own.send<&folder>(rh::cwd("/nowhere/at all"))().get(); });
  CHECK(e.kind() == rh::errc::worker_not_started);
  CHECK(std::string(e.what()).find("entering the folder '/nowhere/at all'") != std::string::npos);
}

TEST_CASE("calls of equal needs share workers, others do not", "[needs]") {
  const rh::cluster own = rh::local(1);
  const int plain = own.send<&own_pid>()().get();
  const int with_a = own.send<&own_pid>(rh::env("A", "1"))().get();
  CHECK(with_a != plain);
  CHECK(own.send<&own_pid>(rh::needs(rh::env("A", "1")))().get() == with_a);
  CHECK(own.send<&own_pid>(rh::env("A", "2"))().get() != with_a);
  CHECK(own.send<&own_pid>()().get() == plain);
  CHECK(own.send<&own_pid>(rh::cpus(1))().get() == plain);
  CHECK(own.send<&own_pid>(rh::env("A", "1"))().get() == with_a);
}

TEST_CASE("a resource is never given away twice", "[needs]") {
  const with_variable has("RUNHOUSE_RESOURCES", "license=2,camera=1");
  const rh::cluster own = rh::local(8);
  const page_file page;
  auto with_license = own.send<&work>(rh::resource("license", 1));
  auto with_both = own.send<&work>(rh::resource("license", 2), rh::resource("camera", 1));
  auto many = with_license.repeat(20, page.path, 3);
  many.get();
  CHECK(shared_page(page.path)->most <= 2);
  // Two more kinds of needs for the same thing: the larger is not passed over.
  auto small = with_license.repeat(200, page.path, 1);
  auto large = with_both(page.path, 1);
  large.get();
  small.get();
  CHECK(shared_page(page.path)->most <= 2);
}

TEST_CASE("workers() says how many of a send's calls run at once", "[needs]") {
  const rh::cluster own = rh::local(2);
  {
    const page_file page;
    own.send<&work>().workers(1).repeat(10, page.path, 1).get();
    CHECK(shared_page(page.path)->most == 1);
  }
  const page_file page;
  auto calls = own.send<&hold_gpus>().workers(5).repeat(5, page.path);
  const shared_page counts(page.path);
  REQUIRE(in_time([&] { return counts->running == 5; }));
  CHECK(own.send<&add>()(1, 2).get() == 3);  // these do not take the others' places
  counts->go = true;
  calls.get();
}

TEST_CASE("no kind of needs keeps the others from running", "[needs]") {
  const rh::cluster own = rh::local(2);
  const page_file page;
  // More than two workers can do in a long time, of calls that need nothing special.
  auto endless = own.send<&work>().repeat(100'000, page.path, 1);
  auto one = own.send<&add>(rh::env("A", "1"))(1, 2);
  CHECK(one.get() == 3);
  std::vector<rh::call<int>> others;
  for (int i = 0; i < 5; ++i) others.push_back(own.send<&add>(rh::env("A", std::to_string(i)))(i, 1));
  for (int i = 0; i < 5; ++i) CHECK(others[static_cast<std::size_t>(i)].get() == i + 1);
  auto again = own.send<&own_pid>()();
  CHECK(!endless.is_ready());
}

TEST_CASE("kinds of needs whose workers all have calls ahead, and want more workers, take turns", "[needs]") {
  // Each gets a share that another has just got and not used yet, and the other way round, if nobody minds.
  const rh::cluster here = rh::local(3);
  std::vector<rh::call<std::vector<int>>> all;
  for (int round = 0; round < 40; ++round) {
    for (int kind = 0; kind < 3; ++kind) {
      all.push_back(here.send<&nap>(rh::env("KIND", std::to_string(kind))).repeat(7, 1 + (round + kind) % 3));
    }
    for (auto& some : all) CHECK(some.get().size() == 7);
    all.clear();
  }
}

TEST_CASE("a call that needs the whole machine is not passed over by small ones", "[needs]") {
  const rh::cluster own = rh::local(2);
  const unsigned all = std::max(2u, std::thread::hardware_concurrency());
  if (all > 2) return;  // local(2) has all CPUs only where there are two
  const page_file page;
  auto endless = own.send<&work>().repeat(100'000, page.path, 1);
  CHECK(own.send<&add>(rh::cpus(2))(1, 2).get() == 3);
  CHECK(!endless.is_ready());
}

TEST_CASE("without nvidia-smi there are no GPUs", "[needs][gpus]") {
  const with_variable path("PATH", "/nowhere");
  const rh::cluster own = rh::local(2);
  const rh::error e = error_of([&] { own.send<&add>(rh::gpus(1))(1, 2).get(); });
  CHECK(e.kind() == rh::errc::impossible_needs);
  CHECK(std::string(e.what()).find("each call needs 1 GPU; this machine has none: nvidia-smi is not there") !=
        std::string::npos);
  CHECK(own.send<&variable>(rh::gpus(0))("CUDA_VISIBLE_DEVICES").get().empty());
}

TEST_CASE("an nvidia-smi that fails is quoted", "[needs][gpus]") {
  const some_gpus none("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not talk to the driver.'\nexit 9\n");
  const rh::error e = error_of([&] { rh::local(1).send<&add>(rh::gpus(1))(1, 2).get(); });
  CHECK(e.kind() == rh::errc::impossible_needs);
  CHECK(std::string(e.what()).find("NVIDIA-SMI has failed because") != std::string::npos);
}

TEST_CASE("a call that needs a GPU has it alone", "[needs][gpus]") {
  const some_gpus three(3);
  const rh::cluster own = rh::local(8);
  const page_file page;
  auto calls = own.send<&use_gpu_alone>(rh::gpus(1)).repeat(60, page.path, false);
  const std::vector<std::string> seen = calls.get();
  CHECK(shared_page(page.path)->clashes == 0);
  for (const std::string& gpu : seen) CHECK(gpu.starts_with("GPU-test-"));
  // Those with most free memory first.
  CHECK(rh::local(1).send<&variable>(rh::gpus(2), rh::env("OTHER", "1"))("CUDA_VISIBLE_DEVICES").get().find(',') !=
        std::string::npos);
  for (int i = 0; i < 3; ++i) std::filesystem::remove(page.path + some_gpus::uuid(i));
}

TEST_CASE("the GPU with most free memory is given first", "[needs][gpus]") {
  const some_gpus three(3);
  const rh::cluster own = rh::local(2);
  CHECK(own.send<&variable>(rh::gpus(2))("CUDA_VISIBLE_DEVICES").get() ==
        some_gpus::uuid(2) + "," + some_gpus::uuid(1));
  CHECK(own.send<&variable>(rh::gpus(0))("CUDA_VISIBLE_DEVICES").get().empty());
  const rh::error e = error_of([&] { own.send<&add>(rh::gpus(4))(1, 2).get(); });
  CHECK(std::string(e.what()).find("each call needs 4 GPUs; this machine has 3") != std::string::npos);
}

TEST_CASE("a worker that dies gives its GPU back", "[needs][gpus]") {
  const some_gpus one(1);
  const rh::cluster own = rh::local(4);
  const page_file page;
  auto use = own.send<&use_gpu_alone>(rh::gpus(1));
  for (int i = 0; i < 5; ++i) {
    CHECK(error_of([&] { use(page.path, true).get(); }).kind() == rh::errc::worker_died);
    CHECK(use(page.path, false).get() == some_gpus::uuid(0));
  }
  CHECK(shared_page(page.path)->clashes == 0);
  std::filesystem::remove(page.path + some_gpus::uuid(0));
}

TEST_CASE("an idle worker's GPU goes to calls of other needs", "[needs][gpus]") {
  const some_gpus one(1);
  const rh::cluster own = rh::local(4);
  for (int i = 0; i < 3; ++i) {
    auto see = own.send<&variable>(rh::gpus(1), rh::env("ROUND", std::to_string(i)));
    CHECK(see("CUDA_VISIBLE_DEVICES").get() == some_gpus::uuid(0));
    CHECK(see("ROUND").get() == std::to_string(i));
  }
}

TEST_CASE("a GPU that another cluster has is waited for", "[needs][gpus]") {
  const some_gpus one(1);
  const page_file page;
  const shared_page counts(page.path);
  std::optional<rh::cluster> first = rh::local(1);
  auto holds = first->send<&hold_gpus>(rh::gpus(1))(page.path);
  REQUIRE(in_time([&] { return counts->running == 1; }));
  const rh::cluster second = rh::local(1);
  auto waits = second.send<&variable>(rh::gpus(1))("CUDA_VISIBLE_DEVICES");
  CHECK(second.send<&add>()(1, 2).get() == 3);
  CHECK(!waits.is_ready());
  counts->go = true;
  CHECK(holds.get() == some_gpus::uuid(0));
  // Its warm worker ends, for it is wanted, and with it its claim.
  CHECK(waits.get() == some_gpus::uuid(0));
}

TEST_CASE("a waiting call that needs a GPU can be cancelled", "[needs][gpus]") {
  const some_gpus one(1);
  const rh::cluster own = rh::local(2);
  const page_file page;
  const shared_page counts(page.path);
  auto holds = own.send<&hold_gpus>(rh::gpus(1))(page.path);
  REQUIRE(in_time([&] { return counts->running == 1; }));
  { auto dropped = own.send<&hold_gpus>(rh::gpus(1))(page.path); }
  REQUIRE(in_time([&] { return own.usage().unfinished_calls == 1; }));
  counts->go = true;
  holds.get();
}

TEST_CASE("lines of nvidia-smi become GPUs, whatever they hold", "[needs][gpus]") {
  using rh::detail::gpu;
  using rh::detail::parse_gpus;
  CHECK(parse_gpus("").empty());
  CHECK(parse_gpus("No devices were found\n").empty());
  CHECK(parse_gpus("GPU-a, 81079\nGPU-b, [N/A]\n") == std::vector<gpu>{{"GPU-a", 81079ull << 20}, {"GPU-b", 0}});
  CHECK(parse_gpus("GPU-../../etc, 5\nGPU-c") == std::vector<gpu>{{"GPU-c", 0}});
}

TEST_CASE("CUDA_VISIBLE_DEVICES is read as CUDA reads it", "[needs][gpus]") {
  using rh::detail::gpu;
  using rh::detail::visible_gpus;
  const std::vector<gpu> all{{"GPU-aa", 1}, {"GPU-ab", 2}, {"GPU-c", 3}};
  CHECK(visible_gpus(all, nullptr) == all);
  CHECK(visible_gpus(all, "").empty());
  CHECK(visible_gpus(all, "2,0") == std::vector<gpu>{{"GPU-c", 3}, {"GPU-aa", 1}});
  CHECK(visible_gpus(all, "GPU-ab, GPU-c") == std::vector<gpu>{{"GPU-ab", 2}, {"GPU-c", 3}});
  CHECK(visible_gpus(all, "1,-1,0") == std::vector<gpu>{{"GPU-ab", 2}});
  CHECK(visible_gpus(all, "1,9,0") == std::vector<gpu>{{"GPU-ab", 2}});
  CHECK(visible_gpus(all, "1,1") == std::vector<gpu>{{"GPU-ab", 2}});
}

}  // namespace
