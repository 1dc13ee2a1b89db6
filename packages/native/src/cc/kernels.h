// What each instruction set's object files offer; addon.cc picks one table at load. All arrays are contiguous, sizes in elements.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace plumb {

enum Storage : int { kF32, kBf16, kInt8 };
constexpr int kPanel = 32;
/** A frozen weight [out, in] in panels of 32 outputs (those beyond `out` are zeros), one after the other. In a panel, inputs follow one
 *  another: 32 floats each; 32 pairs of bfloat16, of two neighbouring inputs; or 32 bytes, to be multiplied by the outputs' `scales`. */
struct Frozen {
  int storage;
  int64_t out, in;
  const char* data;
  const float* scales;  // [panels · 32]; null unless int8
  int64_t panelBytes() const { return (storage == kF32 ? in * 4 : storage == kBf16 ? (in + 1) / 2 * 4 : in) * kPanel; }
  int64_t panels() const { return (out + kPanel - 1) / kPanel; }
};

/** C[M,N] = act(op(A)[M,K] · op(B)[K,N] + bias[N]); with `accumulate`, C starts the sum. Each element is one chain of fused
 *  multiply-adds in the order of K, whatever M, N, the path or the threads. With `frozen`, op(B) is that matrix (not transposed) or its
 *  transpose (transB), and the chain of an int8 one is multiplied by the scale at its end. With `bf16`, both operands are rounded to
 *  bfloat16, and the chain goes by pairs of K where the processor has an instruction for that. */
struct Gemm {
  int64_t M, N, K;
  const float* A;
  int64_t lda;
  bool transA;
  const float* B;
  int64_t ldb;
  bool transB;
  float* C;
  int64_t ldc;
  const float* bias = nullptr;
  bool relu = false;
  bool accumulate = false;
  const Frozen* frozen = nullptr;  // in place of B and ldb
  bool bf16 = false;
};
/** Products with bfloat16 operands by the processor's own instruction; null where there is none. Set before any product. */
extern void (*bf16Products)(const Gemm& g);

/** Products of a few rows with frozen matrices (op(B) = transpose): rows are packed once for all that multiply them, then panels [first, end) of a
 *  matrix are computed. `packed` has room for rows · (K + 32) floats; one row of floats is packed as it lies. Any rows, but up to `most` read the
 *  matrix once. */
struct FewRows {
  int most;
  void (*pack)(const float* a, int64_t lda, int64_t rows, int64_t K, float* packed);
  void (*product)(const Gemm& g, const float* packed, int64_t first, int64_t end);
};
/** With float32 operands, and with bfloat16 ones (null where a processor has no such kernels). Set before any product. */
extern FewRows fewRows[2];

/** `values` [out, in] as they are stored (floats, bfloat16 bits or int8), to the matrix's panels. */
void packFrozen(const Frozen& f, const void* values, char* data);
/** Rows of a frozen matrix as floats, y [count, in]. */
void frozenRows(const Frozen& f, const int32_t* ids, int64_t count, float* y);

enum UnaryOp : int {
  kAbs, kNeg, kExp, kExpm1, kLog, kLog1p, kSqrt, kRsqrt, kSquare, kSigmoid, kTanh, kRelu, kRelu6, kSoftplus, kReciprocal, kSign,
  kFloor, kCeil, kRound, kElu, kSelu, kLeakyRelu, kErf, kStep, kClip, kSin, kCos, kGeluTanh, kScale, kTan, kAsin, kAcos, kAtan, kSinh, kCosh, kAsinh, kAcosh, kAtanh, kUnaryCount
};
enum BinaryOp : int {
  kAdd, kSub, kMul, kDiv, kMaximum, kMinimum, kPow, kSquaredDifference, kFloorDiv, kMod, kPrelu, kEluGrad, kBinaryCount
};
enum CompareOp : int { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kCompareCount };
enum ReduceOp : int { kSum, kMean, kMax, kMin, kProd, kSumSquares, kReduceCount };

constexpr int kMaxRank = 8;
/** A strided walk: `rank` dims, outermost first; strides in elements of each operand (0 = broadcast). */
struct Walk {
  int rank;
  int64_t dims[kMaxRank];
  int64_t a[kMaxRank], b[kMaxRank], c[kMaxRank];
};

struct Attention {
  const float *q, *k, *v;
  const int32_t* cuSeqlens;
  const int32_t* prefixOf;  // or null
  int segments, heads, kvHeads, headDim, window;  // window 0: none
  int64_t tokens;
  bool causal;
  float scale, softcap;  // softcap 0: none
};

/** One query a row against its part of a cache: keys of row i at k + slots[i]·slotStride + t·tokenStride + head·headStride, t < lengths[i]. */
struct Decode {
  const float *q, *k, *v;
  const int32_t *slots, *lengths;
  int64_t rows;
  int heads, kvHeads, headDim;
  int64_t slotStride, tokenStride, headStride;
  int window;
  float scale, softcap;
};

/** Queries over a cache in blocks: keys [blocks, kvHeads, headDim, blockTokens], values [blocks, kvHeads, blockTokens, headDim]. Query i sees the
 *  first lengths[i] tokens of cache row rows[i], whose blocks are tables[rows[i]·blocksPerRow...]; blockTokens is a multiple of 16. */
struct Paged {
  int64_t n;
  int heads, kvHeads, headDim;
  const float *k, *v;
  const int32_t *rows, *lengths, *tables;
  int64_t blocksPerRow, blockTokens;
  int64_t window;
  float scale, softcap;
};

/** A decoder's parameters and one step of it: n tokens, each with its cache row. */
struct StepMatrix {  // [out, in], or [in, out] if transposed, or frozen
  const float *weight = nullptr, *bias = nullptr;
  int64_t in = 0, out = 0;
  bool transposed = false, isFrozen = false;
  Frozen frozen{};
  // An adapter's update, or null: scale · (x · aᵀ) · bᵀ is added; a [rank, in], b [out, rank].
  const float *a = nullptr, *b = nullptr;
  int64_t rank = 0;
  float scale = 0;
};
struct StepNorm {  // with a bias, a LayerNorm
  const float *weight = nullptr, *bias = nullptr;
};
struct StepLayer {
  StepNorm attentionNorm, qNorm, kNorm, afterAttention, mlpNorm, afterMlp;
  StepMatrix qkv[3], o, up[2], down;
  float *keys, *values;
  int64_t window;
};
struct Step {
  int64_t n, layers, width, heads, kvHeads, headDim, mlpWidth;
  int qkvParts, upParts;
  bool fusedUp, gemma, gelu, bf16;
  float eps, logitSoftcap;
  const float *cos, *sin;  // [n, headDim / 2], or null where positions are learned
  Paged paged;             // without keys, values and window
  const int32_t* slots;    // where each token's keys and values go: block · blockTokens + place
  const int32_t* wanted;
  int64_t wantedCount;
  StepNorm finalNorm;
  StepMatrix head;
  const StepLayer* layer;
};

struct TokenLogps {
  int64_t n, d, v;
  const float *hidden, *weight, *bias;  // bias or null
  const Frozen* frozen;                 // or null: in place of the weight
  bool bf16;
  const int32_t* targets;
  float temperature, softcap;
};

struct AdamW {
  float beta1, beta2, eps, learningRate, scale, correction1, correction2;
};

/** x [batch, positions, channels]; mean and r [batch, groups]. */
struct GroupNorm {
  int64_t batch, positions, channels, groups;
  float eps;
  bool silu;
};
struct AdamWParameter {
  float* p;
  const float* g;
  float *m, *v;
  int64_t n;
  float decay;  // learning rate included
};

struct Sampling {
  double temperature, topP, minP;
  int64_t topK;
};
/** Zeroes what top-k, top-p and min-p leave out; the new total. The likeliest weight is 1. */
double truncateWeights(float* weights, int64_t n, double total, int64_t topK, double topP, double minP);

struct Kernels {
  const char* name;
  void (*gemm)(const Gemm& g);
  /** `batch` products; strides in elements. */
  void (*gemmBatch)(const Gemm& g, int64_t batch, const int64_t* offsetA, const int64_t* offsetB, int64_t strideC);
  void (*unary)(int op, const float* x, float* y, int64_t n, float p0, float p1);
  void (*binary)(int op, const float* a, const float* b, float* y, const Walk& w);
  void (*compare)(int op, const float* a, const float* b, uint8_t* y, const Walk& w);
  void (*select)(const uint8_t* m, const float* a, const float* b, float* y, int64_t rows, int64_t inner);  // m [rows]
  /** x [outer, n, inner] -> y [outer, inner] */
  void (*reduce)(int op, const float* x, float* y, int64_t outer, int64_t n, int64_t inner);
  void (*argReduce)(bool max, const float* x, int32_t* y, int64_t outer, int64_t n, int64_t inner);
  void (*softmax)(const float* x, float* y, int64_t rows, int64_t n, bool log);
  void (*softmaxGrad)(const float* y, const float* dy, float* dx, int64_t rows, int64_t n, bool log);
  void (*logSumExp)(const float* x, float* y, int64_t rows, int64_t n);
  void (*cumsum)(const float* x, float* y, int64_t outer, int64_t n, bool exclusive, bool reverse);
  /** y = x along a walk: transposes, slices, tiles, pads; `a` strides of x, `b` of y (1 along the last axis), in elements of `bytes`. */
  void (*copyStrided)(const void* x, void* y, const Walk& w, int bytes);
  /** y [outer, count, inner] from x [outer, n, inner] */
  void (*gather)(const void* x, const int32_t* ids, void* y, int64_t outer, int64_t n, int64_t count, int64_t inner, int bytes);
  /** y [segments, inner] += x [rows, inner]; rows with a negative id are skipped; y is cleared first. */
  void (*segmentScatter)(const float* x, const int32_t* ids, float* y, int64_t rows, int64_t segments, int64_t inner);
  void (*groupNorm)(const float* x, const float* w, const float* bias, float* y, float* mean, float* r, const GroupNorm& g);
  /** dx, dw and db may be null. */
  void (*groupNormGrad)(const float* dy, const float* x, const float* w, const float* bias, const float* mean, const float* r, float* dx, float* dw, float* db, const GroupNorm& g);
  double (*sumSquares)(const float* x, int64_t n);
  void (*adamW)(const AdamWParameter* list, int64_t count, const AdamW& o);
  void (*axpy)(float alpha, const float* x, float* y, int64_t n);  // y += alpha · x
  void (*rmsNorm)(const float* x, const float* w, float* y, float* r, int64_t rows, int64_t n, float eps);
  void (*rmsNormGrad)(const float* dy, const float* x, const float* w, const float* r, float* dx, float* dw, int64_t rows, int64_t n);
  void (*layerNorm)(const float* x, const float* w, const float* b, float* y, float* mean, float* r, int64_t rows, int64_t n, float eps);
  void (*layerNormGrad)(const float* dy, const float* x, const float* w, const float* mean, const float* r, float* dx, float* dw, float* db, int64_t rows, int64_t n);
  /** cos, sin [tokens, headDim / 2]; halves are paired; `inverse` turns back */
  void (*rotary)(const float* x, const float* cos, const float* sin, float* y, int64_t tokens, int64_t heads, int64_t headDim, bool inverse);
  void (*swiGlu)(const float* gate, const float* up, float* y, int64_t n);
  void (*swiGluGrad)(const float* dy, const float* gate, const float* up, float* dGate, float* dUp, int64_t n);
  void (*geluGrad)(const float* dy, const float* x, float* dx, int64_t n);
  void (*attention)(const Attention& a, float* y, float* lse);
  void (*attentionGrad)(const Attention& a, const float* dy, const float* y, const float* lse, float* dq, float* dk, float* dv);
  void (*attentionDecode)(const Decode& d, float* y);
  void (*pagedAttention)(const Paged& p, const float* q, float* y);
  /** x [n, width], the embedded tokens, is overwritten; logits [wanted, vocabulary]. */
  void (*decoderStep)(const Kernels& k, const Step& s, float* x, float* logits);
  void (*tokenLogps)(const TokenLogps& t, float* logps, float* lse, float* entropy, float* squaredSum);
  void (*tokenLogpsGrad)(const TokenLogps& t, const float* lse, const float* dLogps, const float* dEntropy, const float* dSquaredSum, float* dHidden, float* dWeight, float* dBias);
  /** One token a row of logits [rows, n], with uniforms [rows]; -1 where the largest logit is not finite. */
  void (*sampleRows)(const float* logits, const float* uniforms, int64_t rows, int64_t n, const Sampling& s, int32_t* tokens, float* logps);
  /** mask or null; x [tokens, d] -> y [segments, d] */
  void (*segmentReduce)(const float* x, const int32_t* cuSeqlens, const uint8_t* mask, float* y, int64_t segments, int64_t d, bool mean);
  void (*segmentReduceGrad)(const float* dy, const int32_t* cuSeqlens, const uint8_t* mask, float* dx, int64_t segments, int64_t d, bool mean);
};

/** Images [batch, depth, height, width, channels] and filters [depth, height, width, in, out]; in two dimensions depth is 1. */
struct Conv {
  int64_t batch, inHeight, inWidth, inChannels, filterHeight, filterWidth, outHeight, outWidth, outChannels;
  int64_t strideHeight, strideWidth, dilationHeight, dilationWidth, padTop, padLeft;
  int64_t inDepth, filterDepth, outDepth, strideDepth, dilationDepth, padFront;
};
constexpr int kConvNumbers = 21;
/** [batch, inHeight, inWidth, channels] to [batch, outHeight, outWidth, channels]: bilinear, or the nearest pixel. */
struct Resize {
  int64_t batch, inHeight, inWidth, channels, outHeight, outWidth;
  bool nearest, alignCorners, halfPixel;
};
void convolution(const Kernels& K, const Conv& c, const float* x, const float* w, const float* bias, bool relu, float* y);
void convolutionInputGrad(const Kernels& K, const Conv& c, const float* dy, const float* w, float* dx);
void convolutionFilterGrad(const Kernels& K, const Conv& c, const float* x, const float* dy, float* dw);
void depthwise(const Conv& c, const float* x, const float* w, float* y);
void depthwiseInputGrad(const Conv& c, const float* dy, const float* w, float* dx);
void depthwiseFilterGrad(const Conv& c, const float* x, const float* dy, float* dw);
void pool(const Conv& c, const float* x, float* y, int kind);
void poolGrad(const Conv& c, const float* dy, const float* x, float* dx, int kind, bool last);
void resize(const Resize& r, const float* x, float* y);
void resizeGrad(const Resize& r, const float* dy, float* dx);

// Whole numbers and truth values; what a kernel of wholes.cc is called by is the order of these.
enum WholeOp : int { kIntAdd, kIntSub, kIntMul, kIntMaximum, kIntMinimum, kIntFloorDiv, kIntMod, kIntSquaredDifference, kWholeCount };
enum TruthOp : int { kAnd, kOr, kXor };
void wholeBinary(int op, const int32_t* a, const int32_t* b, int32_t* y, const Walk& w);
void wholeCompare(int op, const int32_t* a, const int32_t* b, uint8_t* y, const Walk& w);
void truthBinary(int op, const uint8_t* a, const uint8_t* b, uint8_t* y, const Walk& w);
/** x [outer, n, inner] -> y [outer, inner]; kSum, kMax, kMin and kProd of ReduceOp. Sums and products wrap at 32 bits. */
void wholeReduce(int op, const int32_t* x, int32_t* y, int64_t outer, int64_t n, int64_t inner);
/** Between float32 (0), int32 (1) and bool (2), with JavaScript's rules: fractions cut off, NaN to 0, modulo 2^32. */
void cast(int from, const void* x, int to, void* y, int64_t n);
/** y [n] of `bytes` each, all equal to *value. */
void fill(void* y, const void* value, int bytes, int64_t n);
/** The k largest of each row in falling order, equal ones by place; NaN counts as the largest. */
void topK(const float* x, float* values, int32_t* places, int64_t rows, int64_t n, int64_t k);
/** y = (x − mean)·scale/√(variance + eps) + offset; each parameter repeats with its own period along x. */
void batchNorm(const float* x, const float* const params[4], const int64_t periods[4], float eps, float* y, int64_t n);

/** macOS: lets Accelerate make the large products; `k` is filled. */
void useAccelerate(Kernels& k);

void plainCopy(const float* x, float* y, int64_t n);

#define PLUMB_DECLARE(isa)            \
  void fillGemm_##isa(Kernels& k);    \
  void fillOps_##isa(Kernels& k);     \
  void fillReduce_##isa(Kernels& k);  \
  void fillFused_##isa(Kernels& k);   \
  void fillDecode_##isa(Kernels& k);  \
  void fillRows_##isa();              \
  void gemm_##isa(const Gemm& g);
PLUMB_DECLARE(avx512)
PLUMB_DECLARE(avx2)
PLUMB_DECLARE(sse)
PLUMB_DECLARE(neon)
PLUMB_DECLARE(portable)
#undef PLUMB_DECLARE
void bf16Gemm_avx512bf16(const Gemm& g);
void bf16Gemm_amx(const Gemm& g);
void bf16Gemm_neonbf16(const Gemm& g);
void fillBf16Rows_avx512bf16();
void fillBf16Rows_neonbf16();
}  // namespace plumb

#define PLUMB_CAT2(a, b) a##b
#define PLUMB_CAT(a, b) PLUMB_CAT2(a, b)
#define PLUMB_NAME(f) PLUMB_CAT(f##_, PLUMB_ISA)
