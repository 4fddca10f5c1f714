// The page's worker: it holds the graph, and what a second step draws from, and answers one question after another. A
// "count" is the curve's, a "draw" the second step's.

let graph = null, second = null;

self.onmessage = ({ data: { number, ask, graph: parts, second: drawn, eta, retention } }) => {
  if (ask === "begin") {
    graph = new Graph(parts);
    second = drawn && new Graph(drawn);
    return;
  }
  try {
    const began = performance.now();
    if (ask === "count") {
      self.postMessage({ number, eta, count: graph.greedy(eta).count });
      return;
    }
    const answer = ask === "eta" ? graph.atEta(eta) : (ask === "draw" ? second : graph).atRetention(retention);
    const sent = [answer.kept.buffer, answer.of.buffer, answer.similarity.buffer];
    self.postMessage({ number, ...answer, milliseconds: performance.now() - began }, sent);
  } catch (error) {
    const below = error instanceof RangeError;
    self.postMessage({ number, error: below ? "so few that pairs would be needed that are not stored here" : error.message });
  }
};
