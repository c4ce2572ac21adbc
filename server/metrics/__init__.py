"""What a server knows of its own work, in numbers.

call ends ─► meter (in each host) ─► status (the supervisor's, over the lifelines) ─► summary ─► `sharedmodel status`
"""
