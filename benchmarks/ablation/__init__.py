"""What each part of RGAL contributes."""
