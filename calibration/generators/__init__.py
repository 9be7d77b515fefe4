"""Images from generators that are trained on the teacher's answers."""
