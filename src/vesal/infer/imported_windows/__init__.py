"""How windows lie and weigh in models that other programs trained."""
