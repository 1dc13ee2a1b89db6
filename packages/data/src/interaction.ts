/** Environments that answer a policy's text with text: games, tools, users. Worlds implement it, and whoever collects episodes calls it. */

/** A tool as a chat template writes it; `parameters` is a JSON Schema. */
export type ToolSpec = { name: string; description?: string; parameters?: Record<string, unknown> };

/** What an environment says after an action. `role` is how a chat names the speaker (`user` unless given, `tool` for a tool's result). */
export type TurnResult = {
  observation: string;
  role?: 'user' | 'tool';
  /** Points for this turn; 0 for nothing. */
  reward: number;
  /** The episode is over: the observation is not shown to the policy any more. */
  done: boolean;
  success?: boolean;
  /** Whether the action could be understood. */
  valid: boolean;
  /** A name of the state that the next turn starts from, where states recur (GiGPO's anchors). */
  anchor?: string;
};

/** One world. Everything random in it follows from the seed of `reset`. */
export interface TextEnv {
  /** Begins an episode of `task` (a prompt's record). An observation that is not empty is what the policy sees after its prompt. */
  reset(seed: number, task: unknown): Promise<{ observation: string; anchor?: string }>;
  step(action: string): Promise<TurnResult>;
  close(): void;
}

/**
 * How an episode went, turn by turn. `turnEnds[k]` counts the policy's own tokens up to and with turn k's last one, minus 1: an index into arrays over the
 * tokens that the policy wrote.
 */
export type Episode = {
  turnEnds: number[];
  turnRewards: number[];
  /** The world ended it; the limit of turns; no room left in the context; an action without its end mark. */
  end: 'done' | 'turns' | 'context' | 'cut' | 'aborted';
  success?: boolean;
  /** Turns whose action could not be understood. */
  invalid: number;
  /** The state that each turn starts from, where the world names them. */
  anchors?: string[];
  /** What was said, in turn, after the prompt. */
  messages: { role: string; content: string }[];
};

/** Rewards of an episode's turns, given afterwards by whoever sees all of it, [turns]. */
export type TurnRewardFunction = (episode: Episode) => Promise<number[]>;
