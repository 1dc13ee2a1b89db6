#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() std::this_thread::yield()
#endif

namespace plumb {
namespace {
struct Pool {
  std::mutex one;  // one parallel job at a time; whoever finds it taken works alone
  std::mutex m;
  std::condition_variable cv;
  int wanted = 1;   // threads, the caller included
  int started = 1;  // workers are never ended, only left asleep
  std::atomic<bool> open{false};
  std::atomic<int> active{0};
  std::atomic<uint64_t> generation{0};
  std::atomic<int> asleep{0};
  std::atomic<int> participants{1};
  std::atomic<int64_t> next{0};
  int64_t tasks = 0;
  void (*task)(void*, int64_t) = nullptr;
  void* context = nullptr;
};
// Leaked on purpose: workers may outlive static destructors.
Pool& pool() {
  static Pool* p = new Pool();
  return *p;
}
thread_local bool inside = false;

void drain(Pool& p) {
  for (;;) {
    int64_t i = p.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= p.tasks) return;
    p.task(p.context, i);
  }
}

void worker(int index) {
  Pool& p = pool();
  inside = true;
  uint64_t seen = 0;
  for (;;) {
    for (int spin = 0; p.generation.load() == seen && spin < 1500; spin++) PAUSE();
    if (p.generation.load() == seen) {
      std::unique_lock<std::mutex> lock(p.m);
      p.asleep++;
      p.cv.wait(lock, [&] { return p.generation.load() != seen; });
      p.asleep--;
    }
    seen = p.generation.load();
    p.active++;
    if (p.open.load() && index < p.participants.load()) drain(p);
    p.active--;
  }
}

void* pages(size_t bytes) {  // at the beginning of a page
#if defined(_WIN32)
  void* p = _aligned_malloc(bytes, 4096);
#else
  void* p = nullptr;
  if (posix_memalign(&p, 4096, bytes) != 0) p = nullptr;
#endif
  if (!p) abort();
  return p;
}
void freePages(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  free(p);
#endif
}

struct Scratch {
  void* p[8] = {};
  size_t n[8] = {};
  ~Scratch() {
    for (void* q : p) freePages(q);
  }
};
thread_local Scratch mine;
}  // namespace

int threadCount() { return pool().wanted; }

void setThreadCount(int n) {
  Pool& p = pool();
  std::lock_guard<std::mutex> lock(p.one);
  p.wanted = n < 1 ? 1 : n > 256 ? 256 : n;
  for (; p.started < p.wanted; p.started++) std::thread(worker, p.started).detach();
}

void runTasks(int64_t tasks, void (*task)(void*, int64_t), void* context) {
  Pool& p = pool();
  if (tasks <= 1 || inside || p.wanted <= 1 || !p.one.try_lock()) {
    for (int64_t i = 0; i < tasks; i++) task(context, i);
    return;
  }
  p.tasks = tasks;
  p.task = task;
  p.context = context;
  p.next.store(0);
  p.participants.store(p.wanted);
  p.open.store(true);
  p.generation++;
  if (p.asleep.load() > 0) {
    { std::lock_guard<std::mutex> lock(p.m); }
    p.cv.notify_all();
  }
  inside = true;
  drain(p);
  inside = false;
  p.open.store(false);
  for (int spin = 0; p.active.load() != 0; spin++) {
    if (spin < 2000) PAUSE();
    else std::this_thread::yield();
  }
  p.one.unlock();
}

void* scratch(int slot, size_t bytes) {
  if (mine.n[slot] < bytes) {
    freePages(mine.p[slot]);
    mine.n[slot] = (bytes + (bytes >> 2) + 4095) / 4096 * 4096;
    mine.p[slot] = pages(mine.n[slot]);
  }
  return mine.p[slot];
}
}  // namespace plumb
