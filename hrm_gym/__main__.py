"""`python -m hrm_gym`, the same as the command `hrm-gym`."""

from hrm_gym.cli import main

if __name__ == "__main__":
    main()
