// Gives an OBJECT library of a still empty folder something to compile.
