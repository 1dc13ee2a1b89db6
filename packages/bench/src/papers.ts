/** The papers whose methods Plumbline implements: one experiment each, in `apps/experiments/<id>`. */

/**
 * What our account of a method rests on: the authors' code, the paper's text, or its abstract and what others wrote of it (then the
 * experiment is our reconstruction, and says so).
 */
export type PaperSource = 'code' | 'paper' | 'abstract';
export type Paper = {
  readonly id: string;
  readonly title: string /** The package that owns the method. */;
  readonly package: string;
  readonly source: PaperSource;
  readonly arxiv?: string;
};

const paper = (id: string, title: string, owner: string, source: PaperSource, arxiv?: string): Paper => ({
  id,
  title,
  package: owner,
  source,
  ...(arxiv && { arxiv }),
});

export const papers: readonly Paper[] = [
  paper('reward-augmented-dpo', 'Reward-Augmented Data Enhances Direct Preference Alignment of LLMs', 'dpo', 'code', '2410.08067'),
  paper('dr-irl', 'Inverse RL with Dynamic Reward Scaling for LLM Alignment (DR-IRL, GRPO-S)', 'rl', 'abstract', '2503.18991'),
  paper('writing-quality-rm', 'AI-Slop to AI-Polish? (WQ, WQRM, edit-based rewards, test-time compute)', 'rewards', 'code', '2504.07532'),
  paper('anime-gapo', 'Aligning Anime Video Generation with Human Feedback (AnimeReward, GAPO)', 'diffusion', 'code', '2504.10044'),
  paper('3d-properties', '3D-Properties: Challenges in DPO and a Path Forward', 'dpo', 'abstract', '2406.07327'),
  paper('mpo', 'Mixed Preference Optimization', 'dpo', 'abstract', '2403.19443'),
  paper('s2j', 'S2J: Solve-to-Judge for Generative Reward Models', 'rewards', 'abstract', '2509.22099'),
  paper('doc-reward', 'DocReward: structuring and stylizing documents', 'rewards', 'code', '2510.11391'),
  paper('par', 'Reward Shaping to Mitigate Reward Hacking (Preference As Reward)', 'rewards', 'code', '2502.18770'),
  paper('ixc-reward', 'InternLM-XComposer2.5-Reward (multi-modal RM; PPO, best-of-N, data filtering)', 'rewards', 'code', '2501.12368'),
  paper('eureka', 'Eureka: reward design by coding LLMs', 'rl', 'code', '2310.12931'),
  paper('online-offline-gap', 'Performance gap between online and offline alignment', 'dpo', 'paper', '2405.08448'),
  paper('m-rewardbench', 'M-RewardBench: reward models in multilingual settings', 'bench', 'code', '2410.15522'),
  paper('contrastive-text2sql', 'Contrastive Rewards for Multilingual Text-to-SQL', 'rl', 'abstract', '2510.13827'),
  paper('weaver', 'Shrinking the Generation-Verification Gap with Weak Verifiers', 'rewards', 'code', '2506.18203'),
  paper('socratic-prmbench', 'Socratic-PRMBench', 'bench', 'code', '2505.23474'),
  paper('srm-mcts', 'What Are Step-Level Reward Models Rewarding?', 'rewards', 'paper', '2412.15904'),
  paper(
    'mr-rml-gprc',
    'Multidimensional Rubric-oriented RM via Geometric Projection Reference Constraints',
    'rewards',
    'abstract',
    '2511.16139',
  ),
  paper('birdie', 'Birdie: SSMs with reward-driven objectives and curricula', 'rl', 'code', '2411.01030'),
  paper('wavreward', 'WavReward: spoken dialogue reward evaluators', 'rewards', 'paper', '2505.09558'),
  paper('vilbench', 'ViLBench / ViLPRM: vision-language process reward modeling', 'bench', 'abstract', '2503.20271'),
  paper('clitssa', 'Multilingual LLMs and time-sensitive semantic alignment (mTEMPREASON, CLiTSSA)', 'rewards', 'code', '2412.08090'),
  paper('videorewardbench', 'VideoRewardBench', 'bench', 'abstract', '2509.00484'),
  paper('writing-zero', 'Writing-Zero: pairwise GenRM and BRPO', 'rl', 'abstract', '2506.00103'),
  paper('lav-cot', 'LaV-CoT: language-aware visual CoT, multi-aspect rewards', 'rl', 'code', '2509.10026'),
  paper('chipseek-r1', 'ChipSeek-R1: hierarchical reward RL for RTL', 'rl', 'abstract', '2507.04736'),
  paper('vlrmbench', 'VLRMBench', 'bench', 'code', '2503.07478'),
  paper('correlated-proxies', 'Correlated Proxies: reward hacking and chi-squared regularisation', 'rl', 'code', '2403.03185'),
  paper('genprm', 'GenPRM: generative process reward models', 'rewards', 'code', '2504.00891'),
  paper('openrubrics', 'OpenRubrics: contrastive rubric generation, Rubric-RM', 'rewards', 'paper', '2510.07743'),
  paper('rlhf-workflow', 'RLHF Workflow: online iterative DPO', 'dpo', 'code', '2405.07863'),
  paper('irepo', 'iREPO: implicit reward pairwise difference regression', 'dpo', 'abstract', '2405.15230'),
  paper('human2sim2robot', 'Human2Sim2Robot: object-centric rewards from one demonstration', 'rl', 'code', '2504.12609'),
  paper('rever', 'REVER: embodied planning with verifiable (ordered bipartite matching) reward', 'rl', 'abstract', '2509.25852'),
  paper('minds-eye', "The Mind's Eye: rewards for visual metaphor generation", 'diffusion', 'abstract', '2508.18569'),
  paper('mathse', 'MathSE: self-evolving reflection and reward-guided finetuning', 'rl', 'paper', '2511.06805'),
  paper('irl-vla', 'IRL-VLA: driving policy through a reward world model', 'rl', 'abstract', '2508.06571'),
  paper('bridge-geofact', 'Learn Globally, Speak Locally (BRIDGE, GeoFact-X)', 'rl', 'code', '2507.05418'),
  paper('language-to-rewards', 'Language to Rewards for robotic skill synthesis', 'rl', 'code', '2306.08647'),
  paper('spell', 'SPELL: self-play for long-context models', 'rl', 'code', '2509.23863'),
  paper('resim', 'ReSim: driving world simulation, Video2Reward', 'rewards', 'abstract', '2506.09981'),
  paper('ppd', 'Personalized Preference Fine-tuning of Diffusion Models', 'diffusion', 'paper', '2501.06655'),
  paper('imagerysearch', 'ImagerySearch: adaptive test-time search; LDT-Bench', 'diffusion', 'paper', '2510.14847'),
  paper('videgothink', 'VidEgoThink: egocentric video for embodied AI', 'bench', 'code', '2410.11623'),
  paper('safiron', 'Foundational guardrail via synthetic data (AuraGen, Safiron, Pre-Exec Bench)', 'rewards', 'code', '2510.09781'),
  paper('edit-r1-nft', 'UniWorld-V2: Edit-R1 with DiffusionNFT', 'diffusion', 'code', '2510.16888'),
  paper('multi-turn-guide', "A Practitioner's Guide to Multi-turn Agentic RL", 'rl', 'code', '2510.01132'),
  paper('speechjudge', 'SpeechJudge: speech naturalness', 'rewards', 'code', '2511.07931'),
  paper('dexgen', 'DexterityGen', 'rl', 'paper', '2502.04307'),
  paper('nlu-ppo', 'NLU via PPO with LoRA', 'rl', 'code', '2410.11020'),
  paper('weak-to-strong-deception', 'Super(ficial)-alignment: weak-to-strong deception', 'dpo', 'code', '2406.11431'),
  paper('rl-struct', 'RL-Struct: reliable structured output', 'rl', 'abstract', '2512.00319'),
  paper('lamo', 'LaMo: pretrained LMs for offline RL', 'rl', 'code', '2310.20587'),
  paper('vrag-rl', 'VRAG-RL: vision-perception RAG with RL', 'rl', 'code', '2505.22019'),
  paper('aligndistil', 'AlignDistil: token-level alignment as policy distillation', 'dpo', 'code', '2503.02832'),
  paper('cdr', 'CDR: customizable density ratios for preference annotation', 'rewards', 'code', '2411.02481'),
  paper('drm', 'Dimension-level Reward Model (confidence, relevance, coherence)', 'rewards', 'abstract', '2510.11457'),
  paper('videoscore2', 'VideoScore2', 'rewards', 'code', '2509.22799'),
  paper('prdp', 'PRDP: proximal reward difference prediction', 'diffusion', 'paper', '2402.08714'),
  paper('reward-specification', 'Effective Reward Specification in Deep RL (thesis)', 'rl', 'code', '2412.07177'),
  paper('daa-overoptimization', 'Scaling laws for over-optimization in direct alignment', 'dpo', 'abstract', '2406.02900'),
  paper('starc', 'STARC: standardised reward comparison metrics', 'rewards', 'code', '2309.15257'),
  paper('ctrl-u', 'Ctrl-U: uncertainty-aware reward modeling for conditional generation', 'diffusion', 'code', '2410.11236'),
  paper('reward-topology', 'Reward Generalization in RLHF: tree-structured preferences', 'rewards', 'abstract', '2402.10184'),
  paper('reward-ensembles', 'Helping or Herding? Reward model ensembles', 'rewards', 'abstract', '2312.09244'),
  paper('oni', 'ONI: online intrinsic rewards from LLM feedback', 'rl', 'code', '2410.23022'),
  paper('secrets-rm', 'Secrets of RLHF II: reward modeling', 'rewards', 'code', '2401.06080'),
  paper('morec', 'MOREC: reward-consistent dynamics models', 'rl', 'code', '2310.05422'),
  paper('clip-delta', 'Designing effective RL reward at training time (Clip, Delta)', 'rewards', 'abstract', '2410.15115'),
  paper('prefpaint', 'PrefPaint: inpainting with human preference', 'diffusion', 'code', '2410.21966'),
  paper('ranking-accuracy', 'Preference Learning Algorithms Do Not Learn Preference Rankings', 'dpo', 'code', '2405.19534'),
  paper('dno', 'Direct Nash Optimization', 'dpo', 'paper', '2404.03715'),
  paper('gated-rewards', 'Gated Reward Accumulation for long multi-turn RL', 'rl', 'abstract', '2508.10548'),
  paper('spa-rl', 'SPA-RL: stepwise progress attribution', 'rl', 'code', '2505.20732'),
  paper('transform-combine', 'Transforming and Combining Rewards', 'rewards', 'abstract', '2402.00742'),
];
