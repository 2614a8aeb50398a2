"""What is wrong with a node, and what to do: looked for from outside, whether it runs or not."""
