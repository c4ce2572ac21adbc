"""The demo: four processes, one OCR model, and a host that is killed in the middle."""
