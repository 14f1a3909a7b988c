"""The paper's controlled experiments, reproduced: tables 1 and 5, figures 2, 3, 4, 7, 8 and 9.

Data flows from networks and scenes (`subjects`, `evidence`) through maps (`methods`) and their measures
(`measured`) to rows with intervals and tests (`rows`), which `tables` prints beside the paper's own figures.
"""
