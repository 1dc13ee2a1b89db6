/**
 * The matching of rows to columns with the largest sum: each row and each column at most once (Kuhn 1955; the shortest augmenting paths of Jonker and Volgenant 1987, O(n³)).
 *
 * @param weights [rows][columns], finite; negative entries are matched only where nothing better is left, so that min(rows, columns) pairs come out
 * @returns the sum, and its pairs [row, column] by row
 * @throws RangeError for rows of unlike lengths, or a weight that is not finite, with its place
 */
export function maximumAssignment(weights: readonly ArrayLike<number>[]): { total: number; pairs: [number, number][] } {
  const columns = weights[0]?.length ?? 0;
  weights.forEach((row, i) => {
    if (row.length !== columns) throw new RangeError(`maximumAssignment: row ${i} has ${row.length} columns and row 0 has ${columns}`);
    const bad = Array.from(row).findIndex((weight) => !Number.isFinite(weight));
    if (bad >= 0) throw new RangeError(`maximumAssignment: the weight of row ${i} and column ${bad} is ${row[bad]}`);
  });
  if (columns === 0) return { total: 0, pairs: [] };
  const turned = weights.length > columns;
  const at = turned ? (i: number, j: number) => weights[j][i] : (i: number, j: number) => weights[i][j];
  const rowOf = assignRows(turned ? columns : weights.length, turned ? weights.length : columns, (i, j) => -at(i, j));
  const pairs = rowOf.flatMap((row, column): [number, number][] => (row < 0 ? [] : [turned ? [column, row] : [row, column]]));
  pairs.sort(([a], [b]) => a - b);
  return { total: pairs.reduce((sum, [i, j]) => sum + weights[i][j], 0), pairs };
}

/** The row of each column, -1 for none, at the least cost; there are no more rows than columns. Potentials keep every reduced cost at or above 0. */
function assignRows(rows: number, columns: number, cost: (i: number, j: number) => number): number[] {
  const rowPotential = new Float64Array(rows);
  const columnPotential = new Float64Array(columns + 1);
  const rowOf: number[] = new Array(columns + 1).fill(-1); // the last column is where a path begins
  for (let start = 0; start < rows; start++) {
    const least = new Float64Array(columns).fill(Infinity);
    const before = new Int32Array(columns);
    const seen = new Uint8Array(columns + 1);
    let column = columns;
    rowOf[columns] = start;
    while (rowOf[column] >= 0) {
      seen[column] = 1;
      const row = rowOf[column];
      let next = -1;
      for (let j = 0; j < columns; j++) {
        if (seen[j]) continue;
        const reduced = cost(row, j) - rowPotential[row] - columnPotential[j];
        if (reduced < least[j]) {
          least[j] = reduced;
          before[j] = column;
        }
        if (next < 0 || least[j] < least[next]) next = j;
      }
      const delta = least[next];
      for (let j = 0; j <= columns; j++)
        if (seen[j]) {
          rowPotential[rowOf[j]] += delta;
          columnPotential[j] -= delta;
        } else if (j < columns) least[j] -= delta;
      column = next;
    }
    while (column !== columns) {
      rowOf[column] = rowOf[before[column]];
      column = before[column];
    }
  }
  return rowOf.slice(0, columns);
}
