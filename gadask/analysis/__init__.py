"""Pictures of run directories: plain functions, and a command for each. Nothing here changes how a run goes on."""
