"""One file for each measure: arrays first, then one function of a run, then its picture."""
