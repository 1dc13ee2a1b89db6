declare module 'vader-sentiment' {
  const vader: {
    SentimentIntensityAnalyzer: {
      /** Shares of the text that are negative, neutral and positive, and `compound` in [-1, 1]. */
      polarity_scores(text: string): { neg: number; neu: number; pos: number; compound: number };
    };
  };
  export default vader;
}
