"""Remakes data/language-profiles.json.gz: the n-gram counts by which the reference checkers of instruction following tell languages.

python -m pip install langdetect==1.0.9 && python packages/bench/peers/language_profiles.py

The counts are those of langdetect (Apache-2.0), made by Nakatani Shuyo from Wikipedia's abstracts.
"""
import gzip, json, pathlib
import langdetect

source = pathlib.Path(langdetect.__file__).parent / 'profiles'
profiles = {}
for path in sorted(source.iterdir()):
    if path.name.startswith('_'):
        continue
    profile = json.loads(path.read_text(encoding='utf-8'))
    # a gram of n characters counts among the profile's n_words[n - 1]
    profiles[profile['name']] = {'totals': profile['n_words'], 'counts': dict(sorted(profile['freq'].items()))}
text = json.dumps({'source': 'langdetect 1.0.9, Apache-2.0', 'profiles': profiles}, ensure_ascii=False, separators=(',', ':'))
target = pathlib.Path(__file__).parent.parent / 'data' / 'language-profiles.json.gz'
target.write_bytes(gzip.compress(text.encode('utf-8'), 9, mtime=0))
print(len(profiles), 'languages,', target.stat().st_size, 'bytes')
