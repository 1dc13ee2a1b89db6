// The door to JavaScript: unpacks typed arrays and numbers, calls the table of the instruction set chosen at load. Lengths are
// checked in raw.ts and kernels.ts; here only the types are.
#define NAPI_VERSION 8
#include <node_api.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels.h"
#include "pool.h"

using namespace plumb;

namespace {
Kernels K;

struct Args {
  napi_env env;
  size_t n = 40;
  napi_value v[40];
  bool ok = true;
  Args(napi_env env, napi_callback_info info) : env(env) { napi_get_cb_info(env, info, &n, v, nullptr, nullptr); }
  void fail(size_t i, const char* what) {
    if (!ok) return;
    ok = false;
    char message[96];
    snprintf(message, sizeof message, "native: argument %d is not %s", (int)i, what);
    napi_throw_type_error(env, nullptr, message);
  }
  void* typed(napi_value x, size_t i, napi_typedarray_type want, const char* what, size_t* length) {
    napi_typedarray_type type;
    size_t len = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env, x, &type, &len, &data, nullptr, nullptr) != napi_ok || type != want) {
      fail(i, what);
      return nullptr;
    }
    if (length) *length = len;
    return data;
  }
  bool absent(size_t i) {
    if (i >= n) return true;
    napi_valuetype t;
    napi_typeof(env, v[i], &t);
    return t == napi_null || t == napi_undefined;
  }
  float* f32(size_t i, size_t* length = nullptr) { return (float*)typed(v[i], i, napi_float32_array, "a Float32Array", length); }
  int32_t* i32(size_t i, size_t* length = nullptr) { return (int32_t*)typed(v[i], i, napi_int32_array, "an Int32Array", length); }
  uint8_t* u8(size_t i, size_t* length = nullptr) { return (uint8_t*)typed(v[i], i, napi_uint8_array, "a Uint8Array", length); }
  double* f64(size_t i, size_t* length = nullptr) { return (double*)typed(v[i], i, napi_float64_array, "a Float64Array", length); }
  float* f32OrNull(size_t i) { return absent(i) ? nullptr : f32(i); }
  int32_t* i32OrNull(size_t i) { return absent(i) ? nullptr : i32(i); }
  uint8_t* u8OrNull(size_t i) { return absent(i) ? nullptr : u8(i); }
  // Bytes that `frozenPack` filled: panels from the first multiple of 64 on, then the scales.
  Frozen frozen(size_t i, int storage, int64_t out, int64_t in) {
    Frozen f{storage, out, in, nullptr, nullptr};
    size_t length = 0;
    uint8_t* p = u8(i, &length);
    if (!ok) return f;
    const int64_t need = f.panels() * f.panelBytes(), scales = storage == kInt8 ? f.panels() * kPanel * 4 : 0;
    if ((int64_t)length < need + scales + 64) {
      fail(i, "long enough for that frozen matrix");
      return f;
    }
    f.data = (const char*)(((uintptr_t)p + 63) / 64 * 64);
    if (scales) f.scales = (const float*)(f.data + need);
    return f;
  }
  void* any(size_t i, int* bytes) {
    napi_typedarray_type type;
    size_t len = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env, v[i], &type, &len, &data, nullptr, nullptr) != napi_ok) {
      fail(i, "a typed array");
      return nullptr;
    }
    *bytes = type == napi_uint8_array ? 1 : 4;
    if (type != napi_uint8_array && type != napi_float32_array && type != napi_int32_array) fail(i, "a Float32Array, Int32Array or Uint8Array");
    return data;
  }
  double num(size_t i) {
    double d = 0;
    if (i >= n || napi_get_value_double(env, v[i], &d) != napi_ok) fail(i, "a number");
    return d;
  }
  int64_t i64(size_t i) { return (int64_t)num(i); }
  bool flag(size_t i) {
    bool b = false;
    if (i < n) napi_get_value_bool(env, v[i], &b);
    return b;
  }
  // [rank, dims..., a..., b...]
  Walk walk(size_t i) {
    Walk w{};
    double* m = f64(i);
    if (!m) return w;
    w.rank = (int)m[0];
    for (int d = 0; d < w.rank; d++) {
      w.dims[d] = (int64_t)m[1 + d];
      w.a[d] = (int64_t)m[1 + w.rank + d];
      w.b[d] = (int64_t)m[1 + 2 * w.rank + d];
    }
    return w;
  }
  std::vector<float*> list(size_t i, std::vector<size_t>* lengths = nullptr) {
    std::vector<float*> r;
    uint32_t count = 0;
    if (napi_get_array_length(env, v[i], &count) != napi_ok) {
      fail(i, "an array of Float32Arrays");
      return r;
    }
    for (uint32_t k = 0; k < count && ok; k++) {
      napi_value x;
      size_t len = 0;
      napi_get_element(env, v[i], k, &x);
      r.push_back((float*)typed(x, i, napi_float32_array, "an array of Float32Arrays", &len));
      if (lengths) lengths->push_back(len);
    }
    return r;
  }
};
napi_value number(napi_env env, double x) {
  napi_value v;
  napi_create_double(env, x, &v);
  return v;
}

// Fewer, larger pages for what is read from end to end again and again.
void adviseHugePages(char* p, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = 1 << 21;
  const uintptr_t from = ((uintptr_t)p + page - 1) / page * page, to = ((uintptr_t)p + (uintptr_t)bytes) / page * page;
  if (to > from) madvise((void*)from, to - from, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

#define FN(name) napi_value name(napi_env env, napi_callback_info info)
#define READY \
  if (!a.ok) return nullptr

FN(gemm) {  // A, B, C, bias, M, N, K, lda, transA, ldb, transB, ldc, relu, accumulate, bf16
  Args a(env, info);
  Gemm g{a.i64(4), a.i64(5), a.i64(6), a.f32(0), a.i64(7), a.flag(8), a.f32(1), a.i64(9), a.flag(10), a.f32(2), a.i64(11)};
  g.bias = a.f32OrNull(3);
  g.relu = a.flag(12);
  g.accumulate = a.flag(13);
  g.bf16 = a.flag(14);
  READY;
  K.gemm(g);
  return nullptr;
}
FN(gemmBatch) {  // A, B, C, bias, M, N, K, transA, transB, relu, batch, offsets Float64Array [2, batch], bf16
  Args a(env, info);
  int64_t M = a.i64(4), N = a.i64(5), Kd = a.i64(6), batch = a.i64(10);
  bool tA = a.flag(7), tB = a.flag(8);
  Gemm g{M, N, Kd, a.f32(0), tA ? M : Kd, tA, a.f32(1), tB ? Kd : N, tB, a.f32(2), N};
  g.bias = a.f32OrNull(3);
  g.relu = a.flag(9);
  g.bf16 = a.flag(12);
  double* o = a.f64(11);
  READY;
  std::vector<int64_t> offsets(2 * batch);
  for (int64_t i = 0; i < 2 * batch; i++) offsets[i] = (int64_t)o[i];
  K.gemmBatch(g, batch, offsets.data(), offsets.data() + batch, M * N);
  return nullptr;
}
FN(frozenPack) {  // values (Float32Array, Uint16Array of bf16 bits or Int8Array), bytes, storage, out, in, scales | null
  Args a(env, info);
  const int storage = (int)a.num(2);
  const int64_t out = a.i64(3), in = a.i64(4);
  size_t count = 0, scaleCount = 0;
  void* values = a.typed(a.v[0], 0, storage == kF32 ? napi_float32_array : storage == kBf16 ? napi_uint16_array : napi_int8_array, "an array of its storage", &count);
  Frozen f = a.frozen(1, storage, out, in);
  float* scales = storage == kInt8 ? a.f32(5, &scaleCount) : nullptr;
  if (a.ok && (int64_t)count != out * in) a.fail(0, "out * in long");
  if (a.ok && scales && (int64_t)scaleCount != out) a.fail(5, "out long");
  READY;
  adviseHugePages((char*)f.data, f.panels() * f.panelBytes());
  packFrozen(f, values, (char*)f.data);
  if (scales) {
    memset((char*)f.scales, 0, (size_t)(f.panels() * kPanel) * 4);
    memcpy((char*)f.scales, scales, (size_t)out * 4);
  }
  return nullptr;
}
FN(frozenGemm) {  // A, bytes, C, bias | null, rows, storage, out, in, backward, accumulate, bf16
  Args a(env, info);
  const int64_t rows = a.i64(4), out = a.i64(6), in = a.i64(7);
  Frozen f = a.frozen(1, (int)a.num(5), out, in);
  const bool backward = a.flag(8);
  const int64_t n = backward ? in : out, k = backward ? out : in;
  Gemm g{rows, n, k, a.f32(0), k, false, nullptr, 0, !backward, a.f32(2), n};
  g.bias = a.f32OrNull(3);
  g.accumulate = a.flag(9);
  g.bf16 = a.flag(10);
  g.frozen = &f;
  READY;
  K.gemm(g);
  return nullptr;
}
FN(frozenRows) {  // bytes, storage, out, in, ids, y
  Args a(env, info);
  const int64_t out = a.i64(2), in = a.i64(3);
  Frozen f = a.frozen(0, (int)a.num(1), out, in);
  size_t count = 0, length = 0;
  int32_t* ids = a.i32(4, &count);
  float* y = a.f32(5, &length);
  if (a.ok && length != count * (size_t)in) a.fail(5, "as long as the rows");
  for (size_t i = 0; a.ok && i < count; i++)
    if (ids[i] < 0 || ids[i] >= out) a.fail(4, "rows of the matrix");
  READY;
  frozenRows(f, ids, (int64_t)count, y);
  return nullptr;
}
FN(unary) {  // op, x, y, n, p0, p1
  Args a(env, info);
  int op = (int)a.i64(0);
  float *x = a.f32(1), *y = a.f32(2);
  int64_t n = a.i64(3);
  float p0 = (float)a.num(4), p1 = (float)a.num(5);
  READY;
  K.unary(op, x, y, n, p0, p1);
  return nullptr;
}
FN(binary) {  // op, a, b, y, walk
  Args a(env, info);
  int op = (int)a.i64(0);
  float *x = a.f32(1), *b = a.f32(2), *y = a.f32(3);
  Walk w = a.walk(4);
  READY;
  K.binary(op, x, b, y, w);
  return nullptr;
}
FN(compare) {  // op, a, b, y Uint8Array, walk
  Args a(env, info);
  int op = (int)a.i64(0);
  float *x = a.f32(1), *b = a.f32(2);
  uint8_t* y = a.u8(3);
  Walk w = a.walk(4);
  READY;
  K.compare(op, x, b, y, w);
  return nullptr;
}
FN(select) {  // condition, a, b, y, rows, inner
  Args a(env, info);
  uint8_t* m = a.u8(0);
  int bytes;
  void *x = a.any(1, &bytes), *b = a.any(2, &bytes), *y = a.any(3, &bytes);
  int64_t rows = a.i64(4), inner = a.i64(5);
  READY;
  K.select(m, (float*)x, (float*)b, (float*)y, rows, inner);
  return nullptr;
}
FN(reduce) {  // op, x, y, outer, n, inner
  Args a(env, info);
  int op = (int)a.i64(0);
  float *x = a.f32(1), *y = a.f32(2);
  int64_t outer = a.i64(3), n = a.i64(4), inner = a.i64(5);
  READY;
  K.reduce(op, x, y, outer, n, inner);
  return nullptr;
}
FN(argReduce) {  // max, x, y, outer, n, inner
  Args a(env, info);
  float* x = a.f32(1);
  int32_t* y = a.i32(2);
  int64_t outer = a.i64(3), n = a.i64(4), inner = a.i64(5);
  READY;
  K.argReduce(a.flag(0), x, y, outer, n, inner);
  return nullptr;
}
FN(softmax) {  // x, y, rows, n, log
  Args a(env, info);
  float *x = a.f32(0), *y = a.f32(1);
  int64_t rows = a.i64(2), n = a.i64(3);
  READY;
  K.softmax(x, y, rows, n, a.flag(4));
  return nullptr;
}
FN(softmaxGrad) {  // y, dy, dx, rows, n, log
  Args a(env, info);
  float *y = a.f32(0), *dy = a.f32(1), *dx = a.f32(2);
  int64_t rows = a.i64(3), n = a.i64(4);
  READY;
  K.softmaxGrad(y, dy, dx, rows, n, a.flag(5));
  return nullptr;
}
FN(logSumExp) {  // x, y, rows, n
  Args a(env, info);
  float *x = a.f32(0), *y = a.f32(1);
  int64_t rows = a.i64(2), n = a.i64(3);
  READY;
  K.logSumExp(x, y, rows, n);
  return nullptr;
}
FN(cumsum) {  // x, y, outer, n, exclusive, reverse
  Args a(env, info);
  float *x = a.f32(0), *y = a.f32(1);
  int64_t outer = a.i64(2), n = a.i64(3);
  READY;
  K.cumsum(x, y, outer, n, a.flag(4), a.flag(5));
  return nullptr;
}
FN(copyStrided) {  // x, offset, y, offset, walk
  Args a(env, info);
  int bytes = 4;
  char* x = (char*)a.any(0, &bytes);
  int64_t ox = a.i64(1);
  char* y = (char*)a.any(2, &bytes);
  int64_t oy = a.i64(3);
  Walk w = a.walk(4);
  READY;
  K.copyStrided(x + ox * bytes, y + oy * bytes, w, bytes);
  return nullptr;
}
FN(gather) {  // x, ids, y, outer, n, count, inner
  Args a(env, info);
  int bytes = 4;
  void* x = a.any(0, &bytes);
  int32_t* ids = a.i32(1);
  void* y = a.any(2, &bytes);
  int64_t outer = a.i64(3), n = a.i64(4), count = a.i64(5), inner = a.i64(6);
  READY;
  for (int64_t i = 0; i < count; i++)
    if (ids[i] < 0 || ids[i] >= n) {
      char message[120];
      snprintf(message, sizeof message, "GatherV2: the index value %d is not in [0, %lld]", ids[i], (long long)n - 1);  // tfjs's words
      napi_throw_range_error(env, nullptr, message);
      return nullptr;
    }
  K.gather(x, ids, y, outer, n, count, inner, bytes);
  return nullptr;
}
FN(segmentScatter) {  // x, ids, y, rows, segments, inner
  Args a(env, info);
  float* x = a.f32(0);
  int32_t* ids = a.i32(1);
  float* y = a.f32(2);
  int64_t rows = a.i64(3), segments = a.i64(4), inner = a.i64(5);
  READY;
  K.segmentScatter(x, ids, y, rows, segments, inner);
  return nullptr;
}
FN(plainCopy) {  // x, y: the yardstick of bandwidth; ordinary loads and stores, so that y is read too
  Args a(env, info);
  size_t n = 0, m = 0;
  float *x = a.f32(0, &n), *y = a.f32(1, &m);
  if (a.ok && n != m) a.fail(1, "as long as the first");
  READY;
  plumb::plainCopy(x, y, (int64_t)n);
  return nullptr;
}
FN(axpy) {  // alpha, x, y, n
  Args a(env, info);
  float *x = a.f32(1), *y = a.f32(2);
  float alpha = (float)a.num(0);
  int64_t n = a.i64(3);
  READY;
  K.axpy(alpha, x, y, n);
  return nullptr;
}
FN(sumSquares) {  // arrays
  Args a(env, info);
  std::vector<size_t> n;
  std::vector<float*> x = a.list(0, &n);
  READY;
  double s = 0;
  for (size_t i = 0; i < x.size(); i++) s += K.sumSquares(x[i], (int64_t)n[i]);
  return number(env, s);
}
FN(adamW) {  // params, grads, ms, vs, decays Float64Array, beta1, beta2, eps, learningRate, scale, correction1, correction2
  Args a(env, info);
  std::vector<size_t> n, ng, nm, nv;
  std::vector<float*> p = a.list(0, &n), g = a.list(1, &ng), m = a.list(2, &nm), v = a.list(3, &nv);
  size_t count = 0;
  double* decay = a.f64(4, &count);
  AdamW o{(float)a.num(5), (float)a.num(6), (float)a.num(7), (float)a.num(8), (float)a.num(9), (float)a.num(10), (float)a.num(11)};
  READY;
  if (g.size() != p.size() || m.size() != p.size() || v.size() != p.size() || count != p.size() || n != ng || n != nm || n != nv) {
    napi_throw_range_error(env, nullptr, "adamW: parameters, gradients and moments differ in number or length");
    return nullptr;
  }
  std::vector<AdamWParameter> all(p.size());
  for (size_t i = 0; i < p.size(); i++) all[i] = {p[i], g[i], m[i], v[i], (int64_t)n[i], (float)decay[i]};
  K.adamW(all.data(), (int64_t)all.size(), o);
  return nullptr;
}
FN(convolve) {  // which, a, b, bias | null, y, relu, Float64Array of the numbers of Conv
  Args a(env, info);
  const int which = (int)a.i64(0);
  float *p = a.f32(1), *q = a.f32OrNull(2), *bias = a.f32OrNull(3), *y = a.f32(4);
  size_t count = 0;
  double* m = a.f64(6, &count);
  if (a.ok && count != kConvNumbers) a.fail(6, "21 numbers");
  READY;
  Conv c;
  int64_t* to[kConvNumbers] = {&c.batch, &c.inHeight, &c.inWidth, &c.inChannels, &c.filterHeight, &c.filterWidth, &c.outHeight, &c.outWidth, &c.outChannels,
                               &c.strideHeight, &c.strideWidth, &c.dilationHeight, &c.dilationWidth, &c.padTop, &c.padLeft,
                               &c.inDepth, &c.filterDepth, &c.outDepth, &c.strideDepth, &c.dilationDepth, &c.padFront};
  for (int i = 0; i < kConvNumbers; i++) *to[i] = (int64_t)m[i];
  switch (which) {
    case 0: convolution(K, c, p, q, bias, a.flag(5), y); break;
    case 1: convolutionInputGrad(K, c, p, q, y); break;
    case 2: convolutionFilterGrad(K, c, p, q, y); break;
    case 3: depthwise(c, p, q, y); break;
    case 4: depthwiseInputGrad(c, p, q, y); break;
    case 5: depthwiseFilterGrad(c, p, q, y); break;
    case 6: pool(c, p, y, 0); break;
    case 7: pool(c, p, y, 1); break;
    case 8: poolGrad(c, p, q, y, 0, false); break;
    case 9: poolGrad(c, p, q, y, 1, false); break;
    case 10: poolGrad(c, p, q, y, 0, true); break;
  }
  return nullptr;
}
#include "addon-fused.inc"
#include "addon-wholes.inc"
#include "addon-decode.inc"

const char* unit = "";
FN(bf16Unit) {  // by what instructions bfloat16 numbers are multiplied; empty where they are rounded and multiplied as floats
  napi_value v;
  napi_create_string_utf8(env, unit, NAPI_AUTO_LENGTH, &v);
  return v;
}
FN(threads) { return number(env, threadCount()); }
FN(setThreads) {
  Args a(env, info);
  int n = (int)a.i64(0);
  READY;
  setThreadCount(n);
  return nullptr;
}
FN(simd) {
  napi_value v;
  napi_create_string_utf8(env, K.name, NAPI_AUTO_LENGTH, &v);
  return v;
}

#if defined(__x86_64__)
// What processor and operating system both support, by cpuid: the compilers' own builtin needs a run-time library that not all link.
struct Machine {
  bool avx2 = false, avx512 = false, bf16 = false, vbmi = false, amx = false;
  Machine() {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)) || !(c & (1u << 12))) return;  // OSXSAVE, FMA
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    avx2 = (low & 0x06) == 0x06 && (b & (1u << 5));
    const unsigned wanted = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
    avx512 = avx2 && (low & 0xe6) == 0xe6 && (b & wanted) == wanted;
    vbmi = avx512 && (c & (1u << 1));
    const bool tiles = (low & 0x60000) == 0x60000 && (d & (1u << 22)) && (d & (1u << 24));  // the system's part, AMX-BF16, AMX-TILE
    bf16 = avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
    amx = bf16 && tiles;
  }
};
#endif

#if defined(PLUMB_HAS_AMX)
// Linux gives a process the tiles' registers where it asks for them: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA.
bool tilesGranted() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }
#endif

#if defined(__aarch64__) && defined(PLUMB_HAS_NEONBF16)
bool neonBf16() {
#if defined(__linux__)
  return getauxval(AT_HWCAP2) & (1ul << 14);  // HWCAP2_BF16
#elif defined(__APPLE__)
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has;
#else
  return false;
#endif
}
#endif

// The widest set that the machine has, or the one that PLUMB_SIMD names if the machine has it.
const char* choose() {
  const char* force = getenv("PLUMB_SIMD");
  auto allowed = [&](const char* name) { return !force || !*force || !strcmp(force, name); };
  (void)allowed;
#if defined(__x86_64__)
  const Machine machine;
#ifdef PLUMB_HAS_AVX512
  if (allowed("avx512") && machine.avx512) {
    fillGemm_avx512(K), fillOps_avx512(K), fillReduce_avx512(K), fillFused_avx512(K), fillDecode_avx512(K), fillRows_avx512();
#ifdef PLUMB_HAS_AVX512BF16
    if (machine.bf16) bf16Products = bf16Gemm_avx512bf16, unit = "avx512bf16";
    if (machine.bf16 && machine.vbmi) fillBf16Rows_avx512bf16();
#endif
#ifdef PLUMB_HAS_AMX
    const char* asked = getenv("PLUMB_AMX");
    if (machine.amx && !(asked && !strcmp(asked, "0")) && tilesGranted()) {
      bf16Products = bf16Gemm_amx, unit = "amx";
      fewRows[1] = FewRows{};  // whose sums have another order
    }
#endif
    return "avx512";
  }
#endif
#ifdef PLUMB_HAS_AVX2
  if ((allowed("avx2") || allowed("avx512")) && machine.avx2) {
    fillGemm_avx2(K), fillOps_avx2(K), fillReduce_avx2(K), fillFused_avx2(K), fillDecode_avx2(K), fillRows_avx2();
    return "avx2";
  }
#endif
  fillGemm_sse(K), fillOps_sse(K), fillReduce_sse(K), fillFused_sse(K), fillDecode_sse(K), fillRows_sse();
  return "sse";
#elif defined(__aarch64__)
  fillGemm_neon(K), fillOps_neon(K), fillReduce_neon(K), fillFused_neon(K), fillDecode_neon(K), fillRows_neon();
#ifdef PLUMB_HAS_NEONBF16
  if (neonBf16()) bf16Products = bf16Gemm_neonbf16, fillBf16Rows_neonbf16(), unit = "neonbf16";
#endif
  return "neon";
#else
  fillGemm_portable(K), fillOps_portable(K), fillReduce_portable(K), fillFused_portable(K), fillDecode_portable(K), fillRows_portable();
  return "portable";
#endif
}
void setUp() {
  static bool done = [] {
    K.name = choose();
#if defined(__APPLE__)
    const char* own = getenv("PLUMB_GEMM");
    if (!own || strcmp(own, "own")) useAccelerate(K);
#endif
    const char* t = getenv("PLUMB_THREADS");
    int n = t ? atoi(t) : 0;
    setThreadCount(n > 0 ? n : (int)std::thread::hardware_concurrency());
    return true;
  }();
  (void)done;
}
}  // namespace

NAPI_MODULE_INIT() {
  setUp();
  struct {
    const char* name;
    napi_callback f;
  } all[] = {
#define ENTRY(f) {#f, f}
      ENTRY(gemm), ENTRY(gemmBatch), ENTRY(unary), ENTRY(binary), ENTRY(compare), ENTRY(select), ENTRY(reduce), ENTRY(argReduce),
      ENTRY(softmax), ENTRY(softmaxGrad), ENTRY(logSumExp), ENTRY(cumsum), ENTRY(copyStrided), ENTRY(gather), ENTRY(segmentScatter),
      ENTRY(plainCopy), ENTRY(frozenPack), ENTRY(frozenGemm), ENTRY(frozenRows), ENTRY(bf16Unit),
      ENTRY(axpy), ENTRY(convolve), ENTRY(sumSquares), ENTRY(adamW), ENTRY(threads), ENTRY(setThreads), ENTRY(simd),
      WHOLES_ENTRIES FUSED_ENTRIES DECODE_ENTRIES
  };
  for (auto& e : all) {
    napi_value f;
    napi_create_function(env, e.name, NAPI_AUTO_LENGTH, e.f, nullptr, &f);
    napi_set_named_property(env, exports, e.name, f);
  }
  return exports;
}
