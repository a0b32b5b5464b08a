"""Multi-stage algorithms: functions of steps and data that return trained states."""
