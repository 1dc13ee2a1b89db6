/** All of `index.ts`, and what needs files. */

// Decoders
export { type CacheShape, createKvCache } from './decoder/cache.js';
export {
  createDecoder,
  type DecoderSource,
  type DecoderWeights,
  type LocalDecoder,
  type NextTokens,
  predictingRows,
} from './decoder/decoder.js';
// Adapters
export { parameterBytes, type Storage, storageOf } from './decoder/frozen.js';
export { parameterShapes } from './decoder/layout.js';
export {
  configFromSpec,
  type DecoderShape,
  type DecoderSpec,
  decoderSpec,
  inverseFrequencies,
  type Llama3Rope,
  specFromConfig,
} from './decoder/spec.js';
// Encoders
export {
  asEmbeddingModel,
  createEncoder,
  type EncoderBatch,
  type EncoderSource,
  type LocalEncoder,
  packTexts,
  type SentenceSettings,
  withEmbeddings,
} from './encoder/encoder.js';
export { encoderShapes } from './encoder/layout.js';
export {
  type EncoderOutputs,
  type EncoderShape,
  type EncoderSpec,
  encoderConfig,
  encoderSpec,
  encoderSpecFromConfig,
} from './encoder/spec.js';
export { createVit, type LocalVit, type VitSource, type VitSpec, vitConfig, vitShapes, vitSpec, vitSpecFromConfig } from './encoder/vit.js';
export {
  adapterBase,
  adapterConfig,
  type BaseRecord,
  hashOf,
  isAdapterFolder,
  type LoadAdapterOptions,
  loadAdapter,
  loadScorerAdapter,
  saveAdapter,
} from './files/adapter.node.js';
// Files
export { type LoadEncoderOptions, loadEncoder, loadVit, saveEncoder, saveVit, sentenceSettings } from './files/encoder.node.js';
export { type GgufFile, loadGguf, openGguf } from './files/gguf.node.js';
export { loadHead, saveHead } from './files/heads.node.js';
export { type LoadOptions, loadDecoder, loadScorer, loadTokenizer } from './files/load.node.js';
export { type HubSettings, modelPath, resolveModel } from './files/resolve.node.js';
export { type SaveOptions, saveDecoder, saveScorer } from './files/save.node.js';
export { saveGguf } from './files/saveGguf.node.js';
// Generation
export { type Best, bestOf } from './generation/bestOf.js';
export { createEngine, type Engine, type EngineOptions, type EngineRequest, type TokenPiece } from './generation/engine.js';
export { type GenerateOptions, generate, type TokenSample } from './generation/generate.js';
export { createSampler, type Sampler, type SamplingRule, samplingRule } from './generation/sampling.js';
// GGUF
export { dequantise } from './gguf/dequantise.js';
export { specFromGguf } from './gguf/model.js';
export { type GgmlType, type Gguf, type GgufTensor, parseGguf } from './gguf/parse.js';
export { tokenizerFromGguf } from './gguf/tokenizer.js';
export { type GgufStorage, ggufChunks } from './gguf/write.js';
export { analyticKl, asLanguageModel, completionLogpsOf, sampleKl } from './languageModel.js';
export { LoraConfig, type Target, targetsOf } from './lora/config.js';
export { type AdaptedDecoder, type AdaptedScorer, type Adapter, addLora, isAdapted, type LoraSource } from './lora/lora.js';
export { type MergedDecoder, mergeAdapter } from './lora/merge.js';
export { fromPeft, loraFromPeft, peftConfig, peftName } from './lora/peft.js';
// Servers
export { diskCache } from './remote/diskCache.node.js';
export { type OpenAiModel, type OpenAiOptions, openAiModel, type TokenCounts } from './remote/openAiModel.js';
export {
  createRequester,
  type RequestCache,
  type RequestCounts,
  type Requester,
  type RequestOptions,
  ServerError,
} from './remote/request.js';
// Reward heads
export {
  type AttributeScorer,
  createAttributeScorer,
  createPairScorer,
  createStepScorer,
  createTokenValues,
  type HeadOptions,
  type LocalHead,
  type PairScorer,
  type StepScorer,
  stepRows,
  type TokenValues,
} from './scorer/heads.js';
export { createScorer, joinTrees, type LocalScorer, type Pooling, type ScorerOptions } from './scorer/scorer.js';
// Supervised training
export { blockBatches, type SftBatch, sftBatch, sftBatches } from './sft/batches.js';
export { type ChatRecord, type ChatSequence, chatSequences } from './sft/chats.js';
export { dftLoss, nllLoss, type SftLossName, sftLosses, sftTokenLoss } from './sft/losses.js';
export { SftConfig, type SftResult, type SftTraining, sftLoss, trainSft } from './sft/trainSft.js';
// Tokenizers
export { type ChatOptions, chatTemplate } from './tokenizers/chatTemplate.js';
export { type LocalTokenizer, type MaskedChat, type TokenizerConfig, tokenizerFromJson } from './tokenizers/tokenizer.js';
export { type BpeOptions, type ByteBpeJson, trainByteBpe } from './tokenizers/trainByteBpe.js';
// As a part of other models
export { type DecoderTrunk, decoderTrunk } from './trunk.js';
