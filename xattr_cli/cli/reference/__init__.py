"""Commands that say what there is: plugins, sections of the job, the installation."""
