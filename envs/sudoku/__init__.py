from hrm_gym.envs.sudoku.solver import solve
