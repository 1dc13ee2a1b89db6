// A persistent thread pool. Tasks are numbered; which thread runs one is left open, so every kernel cuts its work into tasks by
// the sizes alone and never by the number of threads.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace plumb {
void runTasks(int64_t tasks, void (*task)(void*, int64_t), void* context);
int threadCount();
void setThreadCount(int n);
// Grow-only, 64-byte aligned memory of the calling thread; `slot` 0..7 are independent.
void* scratch(int slot, size_t bytes);
}  // namespace plumb

namespace {
template <class F>
inline void parallel(int64_t tasks, const F& f) {
  if (tasks == 1) return f(0);
  plumb::runTasks(tasks, [](void* c, int64_t i) { (*(const F*)c)(i); }, (void*)&f);
}
// The same tasks on this thread where waking the others would cost more than it saves.
template <class F>
inline void parallelIf(bool worthwhile, int64_t tasks, const F& f) {
  if (worthwhile) return parallel(tasks, f);
  for (int64_t i = 0; i < tasks; i++) f(i);
}
inline int64_t cdiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t imin(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t imax(int64_t a, int64_t b) { return a > b ? a : b; }
}  // namespace
