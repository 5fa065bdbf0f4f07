"""The machine-code engine put to the proof: arithmetic, memory, findings, mutations, speed."""
