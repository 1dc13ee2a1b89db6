export declare const hasSwiftShader: boolean;
export declare function swiftShader(folder: string, from: string | URL): { LD_LIBRARY_PATH: string; VK_ICD_FILENAMES: string };
