"""Tiny random models of each family and what transformers computes with them: the fixtures of packages/models/test/fixtures/models.

    python models.py OUT          needs torch, transformers, safetensors, gguf, sentencepiece

Per family: config.json, model.safetensors, io.json (inputs, losses, greedy continuation), io.safetensors (outputs), grads.safetensors (of the loss).
OUT/gguf: the decoders as GGUF with matrices in several quantisations, and their logits; a SentencePiece vocabulary; what gguf's own quantisation gives.
"""

import json, os, random, sys, tempfile
import gguf, numpy as np, torch, transformers
from gguf import GGMLQuantizationType as Q, quants
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

out = sys.argv[1]
torch.manual_seed(11)
V = 53
common = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, intermediate_size=32, initializer_range=0.2, max_position_embeddings=96, bos_token_id=1, eos_token_id=2, pad_token_id=0)
rope3 = dict(rope_type='llama3', factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32, rope_theta=5000.0)
decoders = dict(
    gpt2=('gpt2', dict(vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_inner=64, n_positions=96, initializer_range=0.2, bos_token_id=1, eos_token_id=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)),
    llama=('llama', dict(common, num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True)),
    llama3_rope=('llama', dict(common, num_attention_heads=4, num_key_value_heads=1, head_dim=16, tie_word_embeddings=False, rope_parameters=rope3)),
    mistral=('mistral', dict(common, num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=16)),
    qwen2=('qwen2', dict(common, num_attention_heads=4, num_key_value_heads=2)),
    qwen3=('qwen3', dict(common, num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)),
    gemma2=('gemma2', dict(common, num_attention_heads=4, num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16, sliding_window=16, attn_logit_softcapping=20.0, final_logit_softcapping=12.0)),
    phi3=('phi3', dict(common, num_attention_heads=4, num_key_value_heads=2, sliding_window=None, attention_dropout=0.0)),
)


def make(auto, kind, settings):
    model = auto.from_config(AutoConfig.for_model(kind, **settings), attn_implementation='eager').float().eval()
    for name, p in model.named_parameters():  # norms and biases that are not the identity
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    return model


def save(model, name, io, tensors, loss):
    folder = f'{out}/{name}'
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as t:
        model.save_pretrained(t)
        for f in ('config.json', 'model.safetensors'):
            open(f'{folder}/{f}', 'wb').write(open(f'{t}/{f}', 'rb').read())
    if loss is not None:
        model.zero_grad()
        loss.backward()
        # Names as in the file: transformers 5 renames some modules inside.
        named = dict(model.named_parameters())
        save_file({n: p.grad.contiguous() for n, p in named.items() if p.grad is not None}, f'{folder}/grads.safetensors')
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, f'{folder}/io.safetensors')
    json.dump(io, open(f'{folder}/io.json', 'w'))


def ids(n):
    return [random.randrange(3, V) for _ in range(n)]


random.seed(5)
for name, (kind, settings) in decoders.items():
    model = make(AutoModelForCausalLM, kind, settings)
    sequences = {f'len{n}': ids(n) for n in (1, 7, 33)}
    tensors = {}
    for key, tokens in sequences.items():
        with torch.no_grad():
            o = model(torch.tensor([tokens]), output_hidden_states=True)
        tensors[f'{key}.logits'], tensors[f'{key}.last_hidden'] = o.logits[0], o.hidden_states[-1][0]
        if len(tokens) > 1:
            tensors[f'{key}.token_logps'] = o.logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    rows = [ids(9), ids(5), ids(2)]
    padded = {}
    for side in ('right', 'left'):
        pad = [[0] * (9 - len(r)) for r in rows]
        x = [r + p if side == 'right' else p + r for r, p in zip(rows, pad)]
        mask = [[1] * len(r) + p if side == 'right' else p + [1] * len(r) for r, p in zip(rows, pad)]
        with torch.no_grad():
            logits = model(torch.tensor(x), attention_mask=torch.tensor(mask)).logits
        tensors[f'{side}_padded.logits'] = logits * torch.tensor(mask)[..., None]
        padded[f'{side}_padded'] = dict(input_ids=x, attention_mask=mask)
    seq = torch.tensor([sequences['len33']])
    loss = torch.nn.functional.cross_entropy(model(seq).logits[0, :-1], seq[0, 1:])
    prompt, continuation, margin = sequences['len7'], [], 9e9
    for _ in range(12):
        with torch.no_grad():
            last = model(torch.tensor([prompt + continuation])).logits[0, -1]
        best = last.topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        continuation.append(int(best.indices[0]))
    assert margin > 5e-4, (name, margin)
    io = dict(sequences=sequences, **padded, gradient=dict(sequence='len33', loss=loss.item()), greedy=dict(prompt=prompt, continuation=continuation))
    save(model, name, io, tensors, loss)

# Reward models: one label, read at the last token that is not the pad token.
for name, kind in (('llama_score', 'llama'), ('qwen2_score', 'qwen2')):
    settings = dict(common, num_attention_heads=4, num_key_value_heads=2, num_labels=1)
    model = make(transformers.AutoModelForSequenceClassification, kind, settings)
    rows = [ids(9), ids(5), ids(7), ids(1)]
    x = [r + [0] * (9 - len(r)) for r in rows]
    mask = [[1] * len(r) + [0] * (9 - len(r)) for r in rows]
    scores = model(torch.tensor(x), attention_mask=torch.tensor(mask)).logits[:, 0]
    loss = -torch.nn.functional.logsigmoid(scores[:2] - scores[2:]).mean()
    save(model, name, dict(input_ids=x, attention_mask=mask, scores=scores.tolist(), bradley_terry_loss=loss.item()), {}, loss)

# Text encoders with their heads.
small = dict(vocab_size=V, initializer_range=0.2, pad_token_id=0)
berts = dict(small, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, max_position_embeddings=24, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
encoders = dict(
    bert=('bert', 'BertForPreTraining', dict(berts)),
    roberta=('roberta', 'RobertaForMaskedLM', dict(berts, pad_token_id=1, type_vocab_size=1)),
    distilbert=('distilbert', 'DistilBertForMaskedLM', dict(small, dim=24, n_layers=2, n_heads=3, hidden_dim=20, max_position_embeddings=24, dropout=0.0, attention_dropout=0.0)),
    bert_labels=('bert', 'BertForSequenceClassification', dict(berts, num_labels=3)),
    roberta_labels=('roberta', 'RobertaForSequenceClassification', dict(berts, pad_token_id=1, type_vocab_size=1, num_labels=3)),
    distilbert_labels=('distilbert', 'DistilBertForSequenceClassification', dict(small, dim=24, n_layers=2, n_heads=3, hidden_dim=20, max_position_embeddings=24, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=3)),
)
for name, (kind, cls, settings) in encoders.items():
    model = getattr(transformers, cls)._from_config(AutoConfig.for_model(kind, **settings), attn_implementation='eager').float().eval()
    for n, p in model.named_parameters():
        if p.dim() == 1:
            p.data += 0.1 * torch.randn_like(p)
    rows = [ids(1), ids(7), ids(20)]
    pad = settings['pad_token_id']
    x = torch.tensor([r + [pad] * (20 - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (20 - len(r)) for r in rows])
    types = [[int(t > 3) if kind == 'bert' else 0 for t in range(20)] for _ in rows]
    more = dict(token_type_ids=torch.tensor(types)) if kind == 'bert' else {}
    o = model(x, attention_mask=mask, output_hidden_states=True, **more)
    hidden = o.hidden_states[-1] * mask[..., None]
    tensors = dict(last_hidden=hidden, mean_pooled=hidden.sum(1) / mask.sum(1, keepdim=True))
    io = dict(input_ids=x.tolist(), attention_mask=mask.tolist(), token_type_ids=types)
    if 'labels' in name:
        tensors['logits'] = o.logits
        io['labels'] = [2, 0, 1]
        loss = torch.nn.functional.cross_entropy(o.logits, torch.tensor(io['labels']))
        io['loss'] = loss.item()
    else:
        logits = o.prediction_logits if kind == 'bert' else o.logits
        labels = [[t if m and i % 3 == 0 else -100 for i, (t, m) in enumerate(zip(r, k))] for r, k in zip(x.tolist(), mask.tolist())]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.tensor(labels).reshape(-1))
        io.update(mlm_labels=labels, mlm_loss=loss.item())
        tensors['logits'] = logits * mask[..., None]
        if kind == 'bert':
            tensors['seq_relationship'] = o.seq_relationship_logits
            tensors['pooled'] = model.bert(x, attention_mask=mask, **more).pooler_output
    save(model, name, io, tensors, loss)

# A vision transformer.
settings = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, image_size=8, patch_size=4, num_labels=3, initializer_range=0.2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
model = transformers.ViTForImageClassification._from_config(AutoConfig.for_model('vit', **settings), attn_implementation='eager').float().eval()
images = torch.randn(3, 3, 8, 8)
o = model(images, output_hidden_states=True)
loss = torch.nn.functional.cross_entropy(o.logits, torch.tensor([0, 2, 1]))
save(model, 'vit', dict(labels=[0, 2, 1], loss=loss.item()), dict(images=images, logits=o.logits, last_hidden=model.vit(images).last_hidden_state), loss)

# ---- GGUF ----
os.makedirs(f'{out}/gguf', exist_ok=True)
kinds = [Q.F16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.BF16, Q.F32]
archs = dict(gpt2='GPT2', llama='LLAMA', llama3_rope='LLAMA', qwen2='QWEN2', qwen3='QWEN3', gemma2='GEMMA2', phi3='PHI3')


def interleave(w, heads):  # Hugging Face's rotary order to llama.cpp's
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def rope_factors(c):
    p, dim = c.rope_parameters, c.head_dim
    freq = 1.0 / p['rope_theta'] ** (np.arange(0, dim, 2, dtype=np.float64) / dim)
    wave = 2 * np.pi / freq
    low, high = p['original_max_position_embeddings'] / p['low_freq_factor'], p['original_max_position_embeddings'] / p['high_freq_factor']
    smooth = (p['original_max_position_embeddings'] / wave - p['low_freq_factor']) / (p['high_freq_factor'] - p['low_freq_factor'])
    return np.where(wave < high, 1.0, np.where(wave > low, p['factor'], 1 / ((1 - smooth) / p['factor'] + smooth))).astype(np.float32)


logits_of = {}
for name, arch in archs.items():
    model = AutoModelForCausalLM.from_pretrained(f'{out}/{name}', attn_implementation='eager').float().eval()
    c = model.config
    gpt = name == 'gpt2'
    path = f'{out}/gguf/{name}.gguf'
    w = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[arch]])
    w.add_context_length(96)
    w.add_embedding_length(32)
    w.add_block_count(2)
    w.add_feed_forward_length(64 if gpt else 32)
    w.add_head_count(4)
    if gpt:
        w.add_layer_norm_eps(c.layer_norm_epsilon)
    else:
        w.add_head_count_kv(c.num_key_value_heads)
        w.add_layer_norm_rms_eps(c.rms_norm_eps)
        w.add_rope_freq_base(c.rope_parameters['rope_theta'])
        if getattr(c, 'head_dim', None):
            w.add_key_length(c.head_dim)
            w.add_value_length(c.head_dim)
            w.add_rope_dimension_count(c.head_dim)
        else:
            w.add_rope_dimension_count(8)
    if name == 'gemma2':
        w.add_attn_logit_softcapping(20.0)
        w.add_final_logit_softcapping(12.0)
        w.add_sliding_window(16)
    pieces = ['<unk>', '<s>', '</s>'] + [chr(97 + i) for i in range(V - 3)]
    w.add_tokenizer_model('gpt2')
    w.add_tokenizer_pre('gpt-2')
    w.add_token_list(pieces)
    w.add_token_types([3] * 3 + [1] * (V - 3))
    w.add_token_merges(['a b'])
    w.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch], 2)
    state, i = model.state_dict(), 0
    for key, t in state.items():
        if key == 'lm_head.weight' and c.tie_word_embeddings:
            continue
        new = names.get_name(key, ('.weight', '.bias'))
        a = t.numpy()
        if gpt and any(m in key for m in ('c_attn.weight', 'c_proj.weight', 'c_fc.weight')):
            a = np.ascontiguousarray(a.T)
        heads = 4 if 'q_proj' in key else c.num_key_value_heads if 'k_proj' in key else None
        turn = (lambda x: interleave(x, heads)) if heads and arch == 'LLAMA' else (lambda x: x)
        if a.ndim == 1 or 'wpe' in key:
            w.add_tensor(new, turn(a + 1 if name == 'gemma2' else a))  # llama.cpp keeps Gemma's norms with their 1
            continue
        kind = kinds[i % len(kinds)]
        i += 1
        packed = quants.quantize(np.ascontiguousarray(turn(a)), kind)
        back = quants.dequantize(packed, kind).reshape(a.shape).astype(np.float32)
        undo = np.empty_like(back)
        undo[turn(np.arange(a.shape[0])[:, None])[:, 0]] = back
        t.copy_(torch.from_numpy(undo.T.copy() if gpt and undo.T.shape == t.shape and any(m in key for m in ('c_attn', 'c_proj', 'c_fc')) else undo))
        w.add_tensor(new, packed, raw_dtype=kind)
    if name == 'llama3_rope':
        w.add_tensor('rope_freqs.weight', rope_factors(c))
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    tokens = list(range(3, 36))
    with torch.no_grad():
        logits_of[name] = model(torch.tensor([tokens])).logits[0]
    try:  # transformers' own reader, where it knows the architecture: is the file what we mean it to be?
        other = AutoModelForCausalLM.from_pretrained(f'{out}/gguf', gguf_file=f'{name}.gguf', attn_implementation='eager').eval()
        with torch.no_grad():
            gap = float((other(torch.tensor([tokens])).logits[0] - logits_of[name]).abs().max())
        print(name, 'by transformers', gap)
    except Exception as e:
        print(name, 'transformers cannot:', str(e)[:200])
save_file({k: v.contiguous() for k, v in logits_of.items()}, f'{out}/gguf/logits.safetensors')

rng = np.random.default_rng(7)
x = (rng.normal(size=(2, 64)) * rng.choice([0.01, 1, 30], size=(2, 64))).astype(np.float32)
made = {}
for kind in (Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1):
    b = quants.quantize(x, kind)
    made[kind.name] = dict(bytes=np.ascontiguousarray(b).view(np.uint8).tobytes().hex(), values=[float(v) for v in quants.dequantize(b, kind).reshape(-1).astype(np.float32)])
json.dump(dict(format=1, versions=dict(gguf='0.19.0'), shape=[2, 64], x=[float(v) for v in x.reshape(-1)], types=made), open(f'{out}/gguf/quantised.json', 'w'))

# A SentencePiece vocabulary as llama.cpp keeps it, and what the library makes of texts.
import sentencepiece as spm
words = 'the of and to in a is that was he for it with as his on be at by had not are but from have they which you were all her she there would their we him been has when who will no more if out so what up said its about into than them only other new some could time these two may first then do any my now such like our over man me even most made after also did many before must through years where much your way well down should because each just those people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three'.split()
lines = [' '.join(random.choice(words) for _ in range(random.randint(3, 14))).capitalize() + random.choice('.!?') for _ in range(3000)]
with tempfile.TemporaryDirectory() as t:
    open(f'{t}/a.txt', 'w').write('\n'.join(lines + ['naïve café 1234567890 () [] {}'] * 20))
    spm.SentencePieceTrainer.train(input=f'{t}/a.txt', model_prefix=f'{t}/m', vocab_size=700, model_type='bpe', byte_fallback=True, character_coverage=0.9995, split_digits=True, user_defined_symbols=['<tool>'], normalization_rule_name='identity', remove_extra_whitespaces=False, minloglevel=2)
    sp = spm.SentencePieceProcessor(model_file=f'{t}/m.model')
n = sp.get_piece_size()
kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 4 if sp.id_to_piece(i) == '<tool>' else 1
texts = lines[:20] + ['', ' ', '  two  spaces ', 'The  the', 'naïve café', 'Zażółć gęślą jaźń', '日本語 😀 text', 'tab\there\nnew line', '12345 and 007', 'thethethethe', 'a<tool>b', 'x' * 40, '▁ mark', "It's (not) [so] {bad}!"]
json.dump(dict(format=1, versions=dict(sentencepiece=spm.__version__), tokens=[sp.id_to_piece(i) for i in range(n)], scores=[sp.get_score(i) for i in range(n)], types=[kind(i) for i in range(n)],
               rows=[dict(text=t, ids=sp.encode(t), decoded=sp.decode(sp.encode(t))) for t in texts]), open(f'{out}/gguf/sentencepiece.json', 'w'), ensure_ascii=False)
