"""Pictures of matplotlib as figures of plotly, to zoom in and to point at."""
