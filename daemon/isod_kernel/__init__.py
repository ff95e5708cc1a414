"""What Python lacks of the kernel: system calls, and ways to call those it has without waiting. Stdlib only."""
