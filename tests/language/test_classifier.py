import torch

from avsr.language import LanguageClassifier


def make_classifier():
    torch.manual_seed(1)
    classifier = LanguageClassifier(16, 8, 9)
    for norm in classifier.norms:
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return classifier


@torch.no_grad()
def test_batch_equals_single_whatever_the_padding_holds():
    classifier = make_classifier().eval()
    memory = torch.randn(2, 10, 16)
    padding_mask = torch.zeros(2, 10, dtype=torch.bool)
    padding_mask[1, 4:] = True
    memory[1, 4:] = 100.0
    together = classifier(memory, padding_mask)
    assert together.shape == (2, 9)
    torch.testing.assert_close(together[1:], classifier(memory[1:, :4]))
    torch.testing.assert_close(together[:1], classifier(memory[:1]))


def test_padding_does_not_reach_the_batch_statistics():
    memory = torch.randn(2, 10, 16)
    padding_mask = torch.zeros(2, 10, dtype=torch.bool)
    padding_mask[:, 6:] = True
    means = []
    for fill in (0.0, 50.0):
        classifier = make_classifier().train()
        classifier(memory.masked_fill(padding_mask[..., None], fill), padding_mask)
        means.append(classifier.norms[0].running_mean.clone())
    torch.testing.assert_close(*means)


def test_it_learns_which_prompts_name_the_language():
    torch.manual_seed(2)
    classifier = LanguageClassifier(16, 8, 3).train()
    codes = torch.randn(3, 16)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(200):
        languages = torch.randint(3, (16,))
        memory = torch.randn(16, 6, 16) * 0.3
        memory[:, :2] += 2 * codes[languages][:, None]
        loss = torch.nn.functional.cross_entropy(classifier(memory), languages)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (classifier(memory).argmax(-1) == languages).float().mean() > 0.9
