"""What the experiment `phyff` is made of: its data, physical systems and methods."""
